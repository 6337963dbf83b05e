"""How well an adapter does, what its scores mean, and where they come from."""
