"""Kubeflow Pipelines' API v2beta1: `kubeflow` is the client, `calls` one request, `runs` what the server says."""
