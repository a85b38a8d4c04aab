"""The process that a task is: its signals, its processors, how it says how far it is, and what it prints."""
