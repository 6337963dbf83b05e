"""The embedded default: `python -m domains.code_review.tiny` rebuilds it."""
