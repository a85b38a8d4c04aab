"""Training examples: TFRecords, shards of them, and the order in which they are read."""
