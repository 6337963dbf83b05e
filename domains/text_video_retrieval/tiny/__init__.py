"""The embedded default of text-to-video retrieval."""
