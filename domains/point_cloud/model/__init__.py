"""The networks, what is attached where, and what a base says about itself."""
