"""Kubeflow Pipelines' API v2beta1: `api` the client, `requests` one request, `runs` its answers about runs."""
