"""Benchmarks as their authors lay them out, one a file."""
