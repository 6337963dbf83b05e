"""From commits to what is said of them: the chance of a defect, or a message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from domains.code_review.data.commits import Commit, grouped, scaled
from domains.code_review.inference.commit_inputs import read, sources, stem_of
from domains.code_review.inference.inputs import name_of
from domains.code_review.inference.loaded import DOMAIN
from domains.code_review.model.change_manifest import CHANGE_TASKS, ChangeManifest, ChangeTask
from domains.code_review.output.change_result import ChangeResult, Told
from domains.code_review.types import ChangeQuery, ReviewQuery
from suite import hub
from suite.errors import InputError
from suite.manifest import read_manifest
from suite.prediction.inputs import Names, several
from suite.prediction.loading import Chosen, choose
from suite.prediction.loop import each, placed

if TYPE_CHECKING:
    from torch import nn

OPTIONS = ("range", "batch_size", "threshold", "max_new_tokens", "num_beams")
"""What commits and reviews may both be asked for."""


class _ChangePredictor(ABC):
    """A base with the adapter of one task, loaded on first use."""

    task: ChangeTask

    def __init__(self, chosen: Chosen, device: str = "auto", dtype: str = "auto", *, strict_base: bool = False) -> None:
        from suite.devices import choose_device, choose_dtype

        self.chosen, self.strict_base = chosen, strict_base
        self.manifest = ChangeManifest.from_dict(chosen.settings, self.task, str(chosen.folder))
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)

    @classmethod
    def from_pretrained(
        cls,
        adapter: str = "tiny",
        base: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        *,
        strict_base: bool = False,
    ) -> Self:
        """Find adapter and base; nothing big is loaded yet.

        Args:
            adapter: reference of the adapter; none is embedded.
            base: reference of its base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto, float32, bfloat16 or float16.
            strict_base: refuse a base with other weights than the adapter was trained on.

        Raises:
            InputError: adapter or base does not exist, or it is for another task.
        """
        return cls(choose(adapter, base, DOMAIN), device, dtype, strict_base=strict_base)

    def predict(self, inputs: Any, **options: Any) -> Iterator[ChangeResult]:
        """Yield one result an input, in order; a bad input is one with its error.

        Args:
            inputs: mails of `git format-patch`, diffs, JSON lines of commits, git work trees, `-` for standard input,
                or several of these.
            options: fields of `ChangeQuery`.
        """
        query, names = ChangeQuery(**options), Names()

        def one(source: Any) -> ChangeResult:
            return ChangeResult(
                name_of(source), told=tuple(self.told(list(read(source, query)), query)), name=names.of(stem_of(source))
            )

        def failed(source: Any, why: str) -> ChangeResult:
            return ChangeResult(name_of(source), error=placed(why, name_of(source)))

        return each(sources(several(inputs, bytes)), one, failed)

    @abstractmethod
    def told(self, commits: Sequence[Commit], query: ChangeQuery) -> list[Told]:
        """What is said of each commit."""

    @property
    @abstractmethod
    def loaded(self) -> tuple[Any, Any]:
        """The model with its adapter, and the tokenizer; loaded when first asked for."""

    def _adapted(self, base: nn.Module) -> nn.Module:
        from suite import adapters

        model = adapters.load(base, self.chosen.folder, strict_base=self.strict_base or None)
        return model.to(self.device).eval()

    def _batches(self, commits: Sequence[Commit], size: int) -> Iterator[tuple[Sequence[Commit], dict[str, Any]]]:
        import torch

        from domains.code_review.data.change_datamodule import encode
        from domains.code_review.data.pairs import PairCollate

        _, tokenizer = self.loaded
        pad, stated = PairCollate(int(tokenizer.pad_token_id)), self.manifest
        for start in range(0, len(commits), size):
            own = commits[start : start + size]
            pairs = [encode(tokenizer, one, self.task, stated.max_length, stated.max_message) for one in own]
            batch = pad([{"input_ids": torch.tensor(pair.source)} for pair in pairs])
            yield own, {name: value.to(self.device) for name, value in batch.items()}


class DefectPredictor(_ChangePredictor):
    """Commits in, the chance that each brings in a defect out.

    >>> for result in DefectPredictor.from_pretrained("./runs/.../adapter").predict("0001-change.patch"):
    ...     print(result)
    """

    task: ChangeTask = "defects"

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        from domains.code_review.model.change_bases import load_encoder, with_head

        encoder, tokenizer = load_encoder(self.chosen.base, self.dtype)
        head: Any = self.manifest.head
        return self._adapted(with_head(encoder, head)), tokenizer

    def chances(self, commits: Sequence[Commit], batch_size: int = 16) -> list[float]:
        """The chance of a defect of each commit.

        Raises:
            InputError: the adapter reads the experts' features, and a commit has none.
        """
        import torch

        reads_features = self.manifest.head == "concat"
        for commit in commits:
            if reads_features and not commit.features:
                raise InputError(
                    f"commit {commit.id}: this adapter reads the experts' 14 features, too; give JSON lines that have "
                    "them (la, ld, nf, ...)"
                )
        model, _ = self.loaded
        found: list[float] = []
        for own, batch in self._batches(commits, batch_size):
            if reads_features:
                rows = [scaled(one.features, self.manifest.mean, self.manifest.deviation) for one in own]
                batch["features"] = torch.tensor(rows, device=self.device, dtype=self.dtype)
            with torch.inference_mode():
                found += model(**batch).float().sigmoid().tolist()
        return found

    def told(self, commits: Sequence[Commit], query: ChangeQuery) -> list[Told]:
        chances = self.chances(commits, query.batch_size)
        return [
            Told(one.id, one.message.partition("\n")[0], chance, chance >= query.threshold)
            for one, chance in zip(commits, chances, strict=True)
        ]


class MessagePredictor(_ChangePredictor):
    """Commits in, a message for each out.

    >>> for result in MessagePredictor.from_pretrained("./runs/.../adapter").predict("change.diff"):
    ...     print(result)
    """

    task: ChangeTask = "message"

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        from domains.code_review.model.change_bases import load_describer

        model, tokenizer = load_describer(self.chosen.base, self.dtype)
        return self._adapted(model), tokenizer

    def messages(self, commits: Sequence[Commit], query: ChangeQuery) -> list[str]:
        """A message for each commit.

        Raises:
            InputError: the adapter was trained on changes that stand in another form.
        """
        model, tokenizer = self.loaded
        found: list[str] = []
        for _, batch in self._batches([self.laid_out(one) for one in commits], query.batch_size):
            ids = model.generate(
                **batch, max_new_tokens=query.max_new_tokens, num_beams=query.num_beams, do_sample=False
            )  # (commits, length)
            found += [" ".join(text.split()) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return found

    def told(self, commits: Sequence[Commit], query: ChangeQuery) -> list[Told]:
        messages = self.messages(commits, query)
        return [
            Told(one.id, one.message.partition("\n")[0], message=message)
            for one, message in zip(commits, messages, strict=True)
        ]

    def laid_out(self, commit: Commit) -> Commit:
        """The commit as those that the adapter was trained on."""
        wanted = self.manifest.layout
        if wanted == commit.layout:
            return commit
        if wanted == "grouped" and commit.layout == "lines":
            return Commit(commit.id, commit.message, grouped(commit.lines("+"), commit.lines("-")), layout="grouped")
        raise InputError(
            f"commit {commit.id}: this adapter was trained on changes written as {wanted}, and this one is written as "
            f"{commit.layout}; give JSON lines of that form"
        )


def task_of(adapter: str) -> ChangeTask | None:
    """Which task of commits an adapter is for; None where it is for none."""
    stated = read_manifest(hub.resolve(adapter, DOMAIN, kind="adapter"))["domain"].get("task")
    return stated if stated in CHANGE_TASKS else None


def predictor(task: ChangeTask) -> type[DefectPredictor | MessagePredictor]:
    """What predicts for a task of commits."""
    return DefectPredictor if task == "defects" else MessagePredictor


def of_reviews(given: Mapping[str, Any]) -> list[str]:
    """Options that differ from their defaults and mean nothing to commits.

    Args:
        given: fields of `ReviewQuery`.
    """
    plain = ReviewQuery()
    return [
        name
        for name, value in given.items()
        if name not in OPTIONS and (value or None) != (getattr(plain, name) or None)
    ]
