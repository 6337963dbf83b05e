"""What is adapted: the vision tower of a CLIP with a head, what trains of it, its losses, what an adapter remembers."""
