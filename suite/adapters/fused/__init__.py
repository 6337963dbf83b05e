"""Products that join a frozen layer and what an adapter adds to it, with the layers that use them."""
