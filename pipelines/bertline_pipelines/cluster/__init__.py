"""Reads the Kubernetes cluster: `reader` sends requests; `pods`, `nodes` and `steps` hold the answers.

`pending` says why something waits (`scheduling`: why no node takes a pod), `failures` why it failed. `pod_logs` follows
logs. `connections` connects to the API.
"""
