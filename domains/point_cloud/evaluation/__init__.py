"""Scores on test sets."""
