"""Loops around `fit`: several adapters in turn, search, rounds."""
