"""Frames of faces with labels: where they come from, how faces are found and cut, the made world."""
