"""The vocabulary stage: a WordPiece vocabulary, taken from a pinned file or trained on the corpus' articles."""
