"""What stands between a predictor and its model: chunks, calls, parsing, grounding."""
