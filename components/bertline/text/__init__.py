"""Text of any origin: paragraphs to sentences, words to pieces."""
