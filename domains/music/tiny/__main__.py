"""`python -m domains.music.tiny`: rebuild the embedded default."""

from jsonargparse import auto_cli

from domains.music.tiny.rebuild import rebuild

auto_cli(rebuild)
