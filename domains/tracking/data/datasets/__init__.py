"""A file a benchmark: what lies on the disk to sequences."""
