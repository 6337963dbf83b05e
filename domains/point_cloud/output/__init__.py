"""Results, and the files and pictures made of them."""
