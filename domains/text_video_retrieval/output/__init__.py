"""Results of predictions and searches: their data, strips of frames, pages."""
