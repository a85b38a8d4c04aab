"""From a plan to a Kubeflow pipeline: its tasks, their pods, the documents, and lints against what KFP misreads."""
