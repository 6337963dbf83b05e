"""Languages of code by the ending of a file's name, as CodeReviewer's data call them."""

from __future__ import annotations

from pathlib import PurePosixPath

_BY_SUFFIX = {
    ".py": "python",
    ".pyi": "python",
    ".java": "java",
    ".go": "go",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".hpp": "cpp",
    ".cs": "csharp",
    ".php": "php",
    ".rb": "ruby",
    ".rs": "rust",
    ".kt": "kotlin",
    ".scala": "scala",
    ".swift": "swift",
    ".sh": "shell",
}


def language_of(path: str) -> str:
    """The language of a file; empty where its name does not tell."""
    return _BY_SUFFIX.get(PurePosixPath(path).suffix.lower(), "")


def ending_of(language: str) -> str:
    """How names of a language's files end, for release and our own names of it; empty where it is not known."""
    known = {name: suffix for suffix, name in reversed(_BY_SUFFIX.items())}
    return known.get(language, f".{language}" if f".{language}" in _BY_SUFFIX else "")
