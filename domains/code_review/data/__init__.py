"""Diffs, data sets and the made world of code review."""
