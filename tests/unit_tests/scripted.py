"""A model that answers what a test wants it to, in the place of one that was loaded."""

from __future__ import annotations

from collections.abc import Sequence

from domains.unit_tests import TestWriter, WriterQuery
from domains.unit_tests.inference.loaded import Answer, Ends


class Scripted(TestWriter):
    """Answers every source with the next answers of a list for its function, and remembers what it was asked.

    Args:
        answers: by name of the focal function, texts behind the opening bracket of the test's signature, or in Java of
            its body; one list for all rounds.
    """

    room = 4096

    def __init__(self, answers: dict[str, list[str]]) -> None:
        super().__init__(None, adapter="scripted", base="none")
        self.script = {name: list(texts) for name, texts in answers.items()}
        self.sources: list[str] = []

    def prepare(self) -> None:
        pass

    def length(self, source: str) -> int:
        return len(source) // 4

    def answers(
        self, sources: Sequence[str], query: WriterQuery, ends: Sequence[Ends], attempt: int = 0
    ) -> list[list[Answer]]:
        self.sources += sources
        found = []
        for source in sources:
            python, _, name = source.rpartition("def test_")
            name = name if python else source.rpartition("void test")[2].partition("(")[0]
            texts = [self.script[name].pop(0) for _ in range(min(query.samples, len(self.script[name])))]
            found.append([Answer(f"({text}" if python else text, complete=True) for text in texts])
        return found
