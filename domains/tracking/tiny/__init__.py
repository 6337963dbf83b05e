"""The embedded default of tracking."""
