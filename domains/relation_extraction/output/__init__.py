"""The result and what it is written as: triples, tables, graphs, pages."""
