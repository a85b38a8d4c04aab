"""What the store says of runs and tasks: what was submitted, how far attempts came, what they printed."""
