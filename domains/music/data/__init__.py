"""Recordings and captions: read, cut and made."""
