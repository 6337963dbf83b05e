"""What goes in: clouds, data sets, readers, and what is done to points before a model sees them."""
