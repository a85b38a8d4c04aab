"""Estimates of a plan (`totals`): hours, bytes, cost, from earlier manifests (`earlier_runs`) or from `baselines`."""
