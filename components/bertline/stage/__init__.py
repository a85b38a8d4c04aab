"""What every stage has in common: its configuration and how it is started."""
