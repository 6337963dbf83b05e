"""Scores of the three tasks."""
