"""Methods that add trained tokens."""
