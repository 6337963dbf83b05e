"""Between users and the model: encoding, the index on the disk, its search."""
