"""What stands between a predictor and its model."""
