"""`python -m domains.text_video_retrieval.tiny`: rebuild the embedded default."""

from jsonargparse import auto_cli

from domains.text_video_retrieval.tiny.rebuild import rebuild

auto_cli(rebuild)
