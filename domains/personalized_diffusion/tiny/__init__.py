"""The embedded default: a small base, its networks and their pre-training."""
