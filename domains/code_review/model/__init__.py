"""What the models are told and what is attached to them."""
