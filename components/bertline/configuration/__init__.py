"""Files that people write: a strict reader of YAML, and mistakes as sentences."""
