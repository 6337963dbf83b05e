"""`python -m domains.code_review.tiny`: rebuild the embedded default."""

from jsonargparse import auto_cli

from domains.code_review.tiny.rebuild import rebuild

auto_cli(rebuild)
