"""Every statement Operon sends, by what it is about; a connection always comes first."""
