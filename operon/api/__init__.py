"""What can be asked of an `Operon`, by what it is about; `operon.app` joins the parts."""
