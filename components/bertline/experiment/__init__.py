"""The experiment: its file, its learning-rate schedule, and the graph of all its results."""
