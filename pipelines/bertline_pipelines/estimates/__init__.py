"""What a plan will take: from earlier manifests (`precedents`), from tables (`baselines`), from shapes (`sizes`)."""
