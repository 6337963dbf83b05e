"""`python -m domains.tracking.tiny`: rebuild the embedded default."""

from jsonargparse import auto_cli

from domains.tracking.tiny.rebuild import rebuild

auto_cli(rebuild)
