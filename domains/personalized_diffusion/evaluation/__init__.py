"""Scores of pictures, and methods side by side."""
