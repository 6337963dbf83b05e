"""`python -m suite.training.tiny_code`: rebuild the code model."""

from jsonargparse import auto_cli

from suite.training.tiny_code.rebuild import rebuild

auto_cli(rebuild)
