"""Runs on this machine, without Kubernetes."""
