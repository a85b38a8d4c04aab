"""The pretrain stage: one round of one model, resumable at any step."""
