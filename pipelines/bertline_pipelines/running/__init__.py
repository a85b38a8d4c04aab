"""A plan on this machine, without Kubernetes."""
