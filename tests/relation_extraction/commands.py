"""The domain's commands as users type them, and the files around them."""

from __future__ import annotations

from pathlib import Path

from suite.cli.main import main

BURIED = "Mirela Dostan was buried in Port Selmar."
DOCRED = [
    {
        "title": "A",
        "sents": [["Ann", "Lee", "lives", "in", "Oslo", "."]],
        "vertexSet": [
            [{"name": "Ann  Lee", "sent_id": 0, "pos": [0, 2], "type": "PER"}],
            [{"name": "Oslo", "sent_id": 0, "pos": [4, 5], "type": "LOC"}],
        ],
        "labels": [{"r": "P551", "h": 0, "t": 1, "evidence": [0]}],
    },
    {
        "title": "B",
        "sents": [["Bob", "is", "in", "Rome", "."]],
        "vertexSet": [
            [{"name": "Bob", "sent_id": 0, "pos": [0, 1], "type": "PER"}],
            [{"name": "Rome", "sent_id": 0, "pos": [3, 4], "type": "LOC"}],
        ],
        "labels": [],
    },
]


def run(*words):
    """The exit code of a command of the domain."""
    return main(["relation_extraction", *map(str, words)])


def put(folder, name, text, encoding="utf-8"):
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path
