"""The Kubernetes cluster, read only: `reader` asks, `pods`, `nodes` and `steps` hold what it said.

`pending` says why something waits (`scheduling`, why no node takes a pod), `failures` why it failed. `pod_logs` follows
logs, `connections` logs in.
"""
