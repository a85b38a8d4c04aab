"""A plan on a cluster: submit it, see what its tasks do, and what became of it."""
