"""`python -m domains.relation_extraction.tiny`: rebuild the embedded default."""

from jsonargparse import auto_cli

from domains.relation_extraction.tiny.rebuild import rebuild

auto_cli(rebuild)
