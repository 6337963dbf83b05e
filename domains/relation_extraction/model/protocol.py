"""How one version of Relation-Head-Facts asks and answers: pure functions of strings; no model, no tokenizer.

The versions and their wording stand in `paradigms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from domains.relation_extraction.model.calls import STEPS, Call, Step
from domains.relation_extraction.model.templates import Templates, read_templates
from suite.errors import InputError

Layout = Literal["single", "three"]
Scope = Literal["document", "relations", "relation", "head"]
"""What one fact call covers: the document, a list of relations, one relation, or one relation and head."""

Item = str | Sequence[str]
"""A relation name or a head, or the `(head, relation, tail)` of a fact."""

NAMES_A_PROMPT = 100
"""Relation names that one prompt lists; where there are more, they are asked about in several."""

SAMPLING = {"temperature": 0.95, "top_k": 50, "top_p": 0.6}
"""The values of AutoRE's code."""

OFFICIAL = "autore-official"
OURS = "suite-v1"

_SCOPES: Mapping[str, Scope] = {
    "D_F": "document",
    "D_RS_F": "relations",
    "D_R_F": "relation",
    "zero-shot": "relations",
}
STEPS_OF: Mapping[str, tuple[Step, ...]] = {
    "D_F": ("fact",),
    "D_RS_F": ("relation", "fact"),
    "D_R_F": ("relation", "fact"),
    "zero-shot": ("fact",),
}


@dataclass(frozen=True)
class Protocol:
    """How one version asks and answers.

    Attributes:
        id: `<family>/<version>`; stored in an adapter's metadata and compared when it is loaded.
        answers: per step, the pieces of the prompt; joined they are the prompt. Empty where the user must give them.
        analyses: per step, the pieces of the prompt for the free-text analysis that precedes the answer; empty for
            versions without one. A call whose `analysis` is None then asks for the analysis, otherwise for the answer.
        empty: the answer line that says "nothing"; None where the protocol has no such answer.
        templates: what the user gave in place of a wording of ours; an adapter remembers it.
    """

    id: str
    answers: Mapping[Step, tuple[str, ...]]
    analyses: Mapping[Step, tuple[str, ...]] = field(default_factory=dict)
    empty: str | None = None
    templates: Templates | None = None

    @property
    def family(self) -> str:
        return self.id.partition("/")[0]

    @property
    def version(self) -> str:
        return self.id.partition("/")[2]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of a document in order."""
        return STEPS_OF.get(self.version, STEPS)

    @property
    def scope(self) -> Scope:
        return _SCOPES.get(self.version, "head")

    @property
    def described(self) -> bool:
        """Whether relation descriptions enter the prompts of H and F."""
        return "_desc" in self.version

    @property
    def analysing(self) -> bool:
        """Whether each answer is preceded by a free-text analysis."""
        return self.version.endswith("_analysis")

    def worded(self, templates: str | Path | Mapping[str, Any] | None) -> Protocol:
        """The protocol with the templates of a file (see `templates`), or as it is when there are none.

        Raises:
            InputError: the templates are wrong, or the protocol has its own wording.
        """
        if templates is None:
            return self
        if self.answers and self.templates is None:
            raise InputError(f"protocol {self.id} has its own wording; leave out the protocol templates")
        read = read_templates(templates, analysing=self.analysing)
        pieces = {group: {step: (text,) for step, text in by_step.items()} for group, by_step in read.items()}
        return replace(self, answers=pieces["answers"], analyses=pieces.get("analyses", {}), templates=read)

    def require_wording(self) -> Protocol:
        """Return the protocol, which can word its calls.

        Raises:
            InputError: its wording is not shipped, and none was given.
        """
        if self.answers:
            return self
        parts = "answers and analyses" if self.analysing else "answers"
        raise InputError(
            f"the wording of {self.id} is not shipped: give --protocol-templates FILE (recipe: protocol_templates), "
            f"JSON with {parts}, each a template for relation, subject and fact; docs/relation_extraction.md has the "
            f"format; or use {OURS}/{self.version}"
        )

    def pieces(self, call: Call) -> tuple[str, ...]:
        """The prompt of `call` as the pieces that are tokenised separately; the first holds the passage.

        Raises:
            InputError: the version has no such step, or the call lacks something that the step is asked about.
        """
        self.require_wording()
        asks_analysis = self.analysing and call.analysis is None
        templates = (self.analyses if asks_analysis else self.answers).get(call.step)
        if templates is None:
            raise InputError(f"protocol {self.id} has no step {call.step!r}; its steps are {', '.join(self.steps)}")
        if self.family == OURS:
            task = _chinese_task(call) if self.version.endswith("_chinese") else self._task(call, asks_analysis)
            return tuple(_fill(template, call, task) for template in templates)
        return tuple(_fill(template, call) for template in templates)

    def prompt(self, call: Call) -> str:
        """The prompt of `call`, also the `instruction` of a training sample."""
        return "".join(self.pieces(call))

    def answer(self, step: Step, items: Iterable[Item]) -> str:
        """The answer of `step` that lists `items`: names or heads as they are, facts as Python's repr of a list.

        No items give the empty marker, or an empty answer where the protocol has none.
        """
        lines = [repr(list(item)) if step == "fact" else str(item) for item in items]
        return "\n".join(lines) if lines else (self.empty or "")

    def adapter(self, step: Step, layout: Layout = "three") -> str:
        """Name of the adapter that answers `step`: the step itself, or `joint` where one adapter does all."""
        return step if layout == "three" else "joint"

    def _task(self, call: Call, analysis: bool) -> str:
        description = f" ({call.description})" if self.described and call.description else ""
        if call.step == "relation":
            return "relations"
        if call.step == "subject":
            return f'heads of "{_given(call, "relation")}"{description}'
        match self.scope:
            case "document":
                return "triples"
            case "relations":
                return "triples of " + ", ".join(f'"{name}"' for name in call.relations)
            case "relation":
                return f'triples "{_given(call, "relation")}"'
            case "head":
                relation = f'"{_given(call, "relation")}"' + (description if analysis else "")
                return f'triples {relation} from "{_given(call, "head")}"'


def _given(call: Call, name: Literal["relation", "head"]) -> str:
    value = getattr(call, name)
    if value is None:
        raise InputError(f"a {call.step} call needs a {name}, and none was given")
    return value


def _chinese_task(call: Call) -> str:
    if call.step == "relation":
        return "关系"
    relation = f"“{_given(call, 'relation')}”"
    if call.step == "subject":
        return f"{relation}的主体" + (f"（{call.description}）" if call.description else "")
    return f"主体“{_given(call, 'head')}”的{relation}三元组"


def _fill(template: str, call: Call, task: str = "") -> str:
    """Put the call's strings into `template`; braces inside those strings stay what they are."""
    fields = {"s": call.passage, "task": task, "a": call.analysis, "rs": str(list(call.relations))}
    if "{r}" in template:
        fields["r"] = _given(call, "relation")
    if "{h}" in template:
        fields["h"] = _given(call, "head")
    if "{d}" in template:
        # A relation of a user's schema may have no description; its name is the closest thing to one.
        fields["d"] = call.description or _given(call, "relation")
    return template.format_map(fields)
