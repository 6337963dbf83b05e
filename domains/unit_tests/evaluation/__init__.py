"""Scores of generated tests."""
