"""Collections that are fetched from where they are kept: a file a collection."""
