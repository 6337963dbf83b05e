"""A file a format of boxes."""
