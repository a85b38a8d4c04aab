"""The stages' images: their list, their inputs, and how they are built."""
