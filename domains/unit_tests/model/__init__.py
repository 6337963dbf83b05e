"""What the models are and are told."""
