"""Documents and samples: readers of every format, the made world, the data module."""
