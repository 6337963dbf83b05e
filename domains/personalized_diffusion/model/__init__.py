"""The bases by family, what is attached where, and what is minimised."""
