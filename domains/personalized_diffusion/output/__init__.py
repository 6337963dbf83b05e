"""Results, and the pictures and cards made of them."""
