"""The process of a task: its signals, processors, progress and output."""
