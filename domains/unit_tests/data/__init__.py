"""Repositories, benchmarks and their readers."""
