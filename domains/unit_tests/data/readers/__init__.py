"""Readers: a file a format."""
