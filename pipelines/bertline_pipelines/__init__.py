"""From an experiment to a graph of tasks, and from there to a Kubeflow pipeline or to processes on this machine."""
