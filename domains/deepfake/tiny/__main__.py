"""`python -m domains.deepfake.tiny`: rebuild the embedded default."""

from jsonargparse import auto_cli

from domains.deepfake.tiny.rebuild import rebuild

auto_cli(rebuild)
