"""Changes of the training procedure, one file each."""
