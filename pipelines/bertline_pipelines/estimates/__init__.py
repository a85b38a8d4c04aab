"""What a plan will take (`totals`): from manifests of before (`earlier_runs`), from tables (`baselines`)."""
