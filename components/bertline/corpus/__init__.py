"""The corpus stage: from a dump to TFRecords, in two passes."""
