"""Findings, and the files, bodies and pages made of them."""
