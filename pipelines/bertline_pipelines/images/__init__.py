"""The stages' images: which there are, what they are made of, how they are built."""
