"""Runs on a cluster: submission, states of tasks, outcome."""
