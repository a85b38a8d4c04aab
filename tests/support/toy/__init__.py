"""A stage as somebody would add it: it counts a vocabulary's pieces. `tests/stage/test_new_stage.py` puts it in."""
