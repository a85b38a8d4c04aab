"""What pre-training and fine-tuning share of a model: encoder, checkpoints, FLOPs and sizes."""
