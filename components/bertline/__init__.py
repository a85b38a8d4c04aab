"""Pre-train small BERTs, fine-tune them on the way, and trust the result."""

__version__ = "0.1.0"
