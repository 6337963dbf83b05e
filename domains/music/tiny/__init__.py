"""The embedded default of music."""
