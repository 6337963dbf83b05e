"""Methods that add modules beside or inside the model's own."""
