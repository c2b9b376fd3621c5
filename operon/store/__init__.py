"""Every statement Operon sends, by what it is about; the connection comes first."""
