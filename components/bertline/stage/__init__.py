"""What all stages share: configurations and entry points."""
