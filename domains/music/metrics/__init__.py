"""Figures of music: distances between sets of recordings, pitch, rhythm, and the votes of listeners."""
