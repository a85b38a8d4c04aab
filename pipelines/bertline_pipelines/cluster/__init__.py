"""The Kubernetes cluster, read only: `cluster` asks, `pods`, `nodes` and `steps` hold what it said.

Why something waits is in `pending` (and `obstacles`, of nodes), why it failed in `failures`; `podlogs` follows logs,
`logins` logs in.
"""
