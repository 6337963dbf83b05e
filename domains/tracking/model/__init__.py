"""The tracker, and what is attached to it."""
