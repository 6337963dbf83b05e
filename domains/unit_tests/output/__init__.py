"""Test files, and reports of what became of each test."""
