"""Predictors of reviews and of commits, and the verbs that ask them."""
