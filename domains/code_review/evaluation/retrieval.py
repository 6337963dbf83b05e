"""A baseline without a model: the comment of the training hunk that is most like this one, by TF-IDF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from domains.code_review.data.examples import Example
from domains.code_review.model.encoding import text_of

_TOKEN = re.compile(r"[A-Za-z_]+|[0-9]+|[^\sA-Za-z0-9_]")
TOGETHER = 512
"""Hunks that are compared at once."""


class Nearest:
    """Comments by the likeness of hunks: cosine of term frequency times inverse document frequency.

    Args:
        known: cases with comments.
    """

    def __init__(self, known: Sequence[Example]) -> None:
        self.known = list(known)
        counts = [Counter(_tokens(case)) for case in self.known]
        documents = Counter(token for count in counts for token in count)
        self.columns = {token: number for number, token in enumerate(documents)}
        self.weights = np.array([np.log((1 + len(counts)) / (1 + n)) + 1 for n in documents.values()])
        self.matrix = self._rows(counts)

    def comments(self, cases: Sequence[Example]) -> list[str]:
        """The answer of the nearest known case to each; the first of several as near."""
        rows = self._rows([Counter(_tokens(case)) for case in cases])
        nearest: list[int] = []
        for start in range(0, len(cases), TOGETHER):
            likeness = (rows[start : start + TOGETHER] @ self.matrix.T).toarray()  # (cases, known)
            nearest += [int(place) for place in likeness.argmax(1)]
        return [self.known[place].answer for place in nearest]

    def _rows(self, counts: Sequence[Counter[str]]) -> csr_matrix:
        """(cases, tokens), each row of length 1; tokens that nobody knows are left out."""
        values: list[np.ndarray] = []
        columns: list[int] = []
        ends = [0]
        for count in counts:
            known = {self.columns[token]: number for token, number in count.items() if token in self.columns}
            row = np.array([number * self.weights[column] for column, number in known.items()])
            values.append(row / max(float(np.linalg.norm(row)), 1e-12))
            columns += known
            ends.append(len(columns))
        data = np.concatenate(values) if values else np.zeros(0)
        return csr_matrix((data, columns, ends), shape=(len(counts), len(self.columns)))


def _tokens(case: Example) -> list[str]:
    """Words and marks of the changed lines, with what happened to them; of plain code all of it."""
    if case.hunk is None:
        return _TOKEN.findall(case.code)
    lines = [line for line in text_of(case.hunk).split("\n")[1:] if line[:1] in "+-"]
    return [line[0] + token for line in lines for token in _TOKEN.findall(line[1:])]
