"""Trackers on annotated sequences: running them, their figures, other trackers beside them."""
