"""Where captions come from: a file a format."""
