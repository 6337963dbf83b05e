"""The embedded default: `python -m domains.relation_extraction.tiny` rebuilds it."""
