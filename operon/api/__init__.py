"""What can be asked of an `Operon`, by subject; `operon.app` joins the parts."""
