"""A stage as somebody would add it: it counts a vocabulary's pieces. `tests/pipelines/test_stages.py` puts it in."""
