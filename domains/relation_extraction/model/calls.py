"""The words of the prompt protocol: steps, the calls of a step, what the model answers. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Step = Literal["relation", "subject", "fact"]
"""The three kinds of calls of Relation-Head-Facts; each is also the name of its adapter in the three-adapter layout."""

STEPS: tuple[Step, ...] = ("relation", "subject", "fact")


@dataclass(frozen=True)
class Call:
    """One call of the model: a step on a passage, and what the step is asked about.

    Attributes:
        relation, description: of the H and F steps. `relations`: the list that D_RS_F puts into its F prompt.
        head: of the F step of the paradigms with heads.
        analysis: the free-text analysis that the answer is based on, in the versions that ask for one first; None
            asks for the analysis itself.
    """

    step: Step
    passage: str
    relation: str | None = None
    description: str | None = None
    head: str | None = None
    relations: tuple[str, ...] = field(default=())
    analysis: str | None = None


@dataclass(frozen=True)
class Generation:
    """What the model answered to one call.

    Attributes:
        text: the answer, special tokens removed, spaces never cleaned up.
        complete: False where it stopped at `max_new_tokens`.
        offsets: end position in `text` of each generated token, ascending (empty: unknown).
        logprobs: log-probability of each generated token (nats), same length as `offsets`.
    """

    text: str
    complete: bool = True
    offsets: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
