"""The `bertline` command."""
