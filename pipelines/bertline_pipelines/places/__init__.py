"""Where an experiment runs: profiles, and access to their store, Kubeflow and cluster."""
