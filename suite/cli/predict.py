"""`suite DOMAIN predict`: files, folders or standard input in, results out; a bad input never stops the good ones."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from inspect import signature
from pathlib import Path
from typing import Any

from suite.cli.options import Option, Parser, of_dataclass, parse
from suite.cli.output import Answer, note, to_json
from suite.cli.strictness import strict_bases
from suite.domain import Domain, QueryTraits, Result, Task, load
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.prediction.inputs import STDIN, exists, files_in, is_live, is_text, is_word
from suite.prediction.loop import reason

LONGEST_NAME = 200
"""Characters of an input's name in the line that says what is wrong with it."""


@dataclass(frozen=True)
class Settings:
    """What every `predict` takes beside its task's Query.

    Attributes:
        adapter: reference of the adapter: a catalogue name, hf:org/name, https://..., or a path that starts with . / ~
        base: reference of the base; the one that the adapter names where it is left out.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for the results; without it they are only shown.
        resume: skip what the folder `--out` holds already.
        overwrite: begin anew in a folder `--out` where an earlier run has finished something.
        strict_base: refuse a base with other weights than the adapter was trained on, e.g. a fine-tune of it.
    """

    adapter: str = "tiny"
    base: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    strict_base: bool = False


def run(domain: Domain, argv: Sequence[str]) -> Answer:
    """Predict for every input in `argv`.

    Raises:
        InputError: there is no input, or an option is not known or of the wrong kind.
    """
    task, argv = _chosen_task(domain, argv)
    query = load(task.query)
    traits, fields = QueryTraits.of(query), of_dataclass(query)
    names = {option.name for option in fields}
    resumes = traits.resumes or "resume" in names
    own = [option for option in of_dataclass(Settings) if option.name not in ("resume", "overwrite") or resumes]
    if traits.keeps:
        told = "folder for the results; a new one for temporary files where it is left out."
        own = [replace(option, help=told) if option.name == "out" else option for option in own]
    asked = [option for option in fields if option.name not in ("resume", "out")]
    inputs = _inputs(traits)
    wanted = [inputs, *_task_option(domain), *own, *asked]
    parser = Parser(f"suite {domain.name} predict", wanted, domain.title, words="INPUT ...")
    given = parse(parser, [inputs, *own, *asked], argv)
    settings = Settings(**{option.name: given[option.name] for option in own if option.name in given})
    if wrong := _contradiction(given.get("inputs"), settings, traits):
        parser.error(wrong)
    chosen = {option.name: given[option.name] for option in asked if option.name in given}
    if settings.resume:
        chosen["resume"] = settings.out
    if settings.overwrite:
        chosen["overwrite"] = True
    if settings.out is not None and "out" in names:
        chosen["out"] = settings.out
    loading = {name: chosen.pop(name) for name in traits.loading if name in chosen}
    # A number that cannot be is refused before a model is loaded, which may take minutes.
    query(**{name: value for name, value in chosen.items() if name in names})
    made = settings.out is None and traits.keeps
    if made:
        settings = replace(settings, out=Path(tempfile.mkdtemp(prefix=f"{domain.name}-")))
    try:
        with strict_bases(settings.strict_base):
            return _Prediction(domain, settings, traits).run(task, given["inputs"], chosen, loading)
    finally:
        if made and settings.out is not None and not any(settings.out.iterdir()):
            settings.out.rmdir()


def _inputs(traits: QueryTraits) -> Option:
    text = "text in quotes, " if traits.takes_text else ""
    return Option("inputs", list[str], (), bare=True, help=text + _kinds(traits))


def _kinds(traits: QueryTraits) -> str:
    return "files or folders" + ", or - for standard input" * traits.takes_stdin


def _task_option(domain: Domain) -> list[Option]:
    """`--task`, for the help alone (`_chosen_task` takes it), where there are several."""
    told = f"{' or '.join(domain.tasks)}; the adapter's own where it is left out"
    return [Option("task", str, None, help=told)] if len(domain.tasks) > 1 else []


def _contradiction(inputs: Sequence[str] | None, settings: Settings, traits: QueryTraits) -> str:
    """What is wrong with options that are each right; empty where nothing is."""
    if not inputs:
        return f"no input; name {_kinds(traits)}"
    if STDIN in inputs and not traits.takes_stdin:
        return f"standard input is not read; name {_kinds(traits)}"
    if settings.resume and settings.out is None:
        return "--resume needs --out, the folder to go on with"
    if settings.resume and settings.overwrite:
        return "--resume goes on and --overwrite begins anew; give one of them"
    return ""


def _chosen_task(domain: Domain, argv: Sequence[str]) -> tuple[Task, Sequence[str]]:
    """Take `--task NAME` out of `argv` where the domain has several tasks; the adapter's own is the default."""
    names = list(domain.tasks)
    if len(names) == 1:
        return domain.tasks[names[0]], argv
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task")
    given, rest = parser.parse_known_args(list(argv))
    if given.task is None:
        parser.add_argument("--adapter")
        adapter = parser.parse_known_args(rest)[0].adapter
        stated = None if adapter is None else _stated_task(domain, adapter)
        return domain.tasks[stated if stated in names else names[0]], rest
    if given.task not in names:
        raise InputError(f"{domain.name} has no task {given.task!r}; there is {', '.join(names)}")
    return domain.tasks[given.task], rest


def _stated_task(domain: Domain, adapter: str) -> str | None:
    """The task that an adapter says it was trained for; None where it cannot be told, which loading it will explain."""
    from suite import adapters, hub

    try:
        section = adapters.read_manifest(hub.resolve(adapter, domain.name, kind="adapter"))["domain"]
    except InputError:
        return None
    stated: str | None = section.get("task")
    return stated


class _Prediction:
    """One run of the verb: it keeps what was done and what failed as the results come in."""

    def __init__(self, domain: Domain, settings: Settings, traits: QueryTraits) -> None:
        self.domain, self.settings, self.traits = domain, settings, traits
        self.folder = ResultFolder(settings.out)
        self.records: list[dict[str, Any]] = []
        self.failed = 0
        self.planned = False
        self.codes: list[int] = []
        self.said: set[str] = set()

    def run(self, task: Task, inputs: Sequence[str], options: dict[str, Any], loading: dict[str, Any]) -> Answer:
        self.planned = bool(options.get("dry_run"))
        # What is not there is known before a model is loaded, which may take minutes.
        there = [word for word in inputs if self._is_no_path(word) or self._exists(word)]
        steps: list[str] = []
        if there:
            kind = load(task.predictor)
            settings = self.settings
            predictor = kind.from_pretrained(
                settings.adapter, base=settings.base, device=settings.device, dtype=settings.dtype, **loading
            )
            self.folder.beside(there)
            expanded = self._expanded(kind, there)
            if "out" in signature(kind.predict).parameters:
                # It draws, summarises or keeps a journal there, and so writes its results itself.
                results = predictor.predict(expanded, out=self.folder, **options)
            else:
                results = self.folder.keep(predictor.predict(expanded, **options))
            for result in results:
                self._take(result)
            if self.failed < len(self.records):  # a sheet of refusals alone says no more than they did
                steps = self.folder.next_steps()
        return self._answer(steps)

    def _is_no_path(self, word: str) -> bool:
        """Whether it is text, a stream or a pattern, where the task takes such."""
        traits = self.traits
        return (
            (traits.takes_text and is_text(word))
            or (traits.takes_words and is_word(word))
            or (traits.takes_streams and is_live(word))
            or (traits.takes_patterns and has_magic(word))
        )

    def _exists(self, word: str) -> bool:
        if not word.strip():  # an unset variable of a script; as a path it would be the folder where one stands
            self._fail(repr(word), "is empty; name a file or folder")
            return False
        if word == STDIN or exists(word):
            return True
        self._fail(word, "no such file or folder; check the path")
        return False

    def _expanded(self, predictor: Any, words: Sequence[str]) -> list[Path | str]:
        """Words as the predictor takes them; a folder becomes its files where the predictor names their `suffixes`."""
        suffixes: tuple[str, ...] | None = getattr(predictor, "suffixes", None)
        paths: list[Path | str] = []
        for word in words:
            path = Path(word).expanduser()
            if word == STDIN:
                paths.append(STDIN)
            elif is_text(word) or not exists(word):
                paths.append(word)
            elif suffixes is None or not path.is_dir():
                paths.append(path)
            else:
                try:
                    paths += files_in(path, suffixes)
                except InputError as error:
                    self._fail(word, reason(error, str(path)))
        return paths

    def _take(self, result: Result) -> None:
        if result.error is not None:
            self._fail(result.source, result.error)
            return
        record = {"source": result.source, "error": None, **result.to_dict()}
        if self.settings.out is not None:
            record["files"] = self.folder.files
        self.records.append(record)
        self.codes.append(getattr(result, "exit_code", 0))
        print(self._unrepeated(result), flush=True)

    def _unrepeated(self, result: Result) -> str:
        """The result as people read it, without what it says of every input and an earlier one has said."""
        standing: Sequence[str] = getattr(result, "standing_notices", ())
        said = {f"  note: {notice}" for notice in standing if notice in self.said}
        self.said.update(standing)
        return "\n".join(line for line in _shown(result).split("\n") if line not in said)

    def _fail(self, source: str, error: str) -> None:
        line = " ".join(error.split())
        self.failed += 1
        self.records.append({"source": source, "error": line})
        # Where the input is a text of its own, its beginning says which.
        name = source if len(source) <= LONGEST_NAME else f"{source[: LONGEST_NAME - 3]}..."
        # A place in the input, `:12:5: invalid syntax`, stands behind its name without a blank.
        note(f"error: {name}{'' if line.startswith(':') else ': '}{line}")

    def _answer(self, steps: Sequence[str]) -> Answer:
        done = len(self.records) - self.failed
        data = {
            "domain": self.domain.name,
            "adapter": self.settings.adapter,
            "out": self.settings.out,
            "done": done,
            "failed": self.failed,
            "results": self.records,
            "next": list(steps),
        }
        lines = [f"{done} done" + (f", {self.failed} failed" if self.failed else "")]
        if self.planned:
            pass  # nothing was made that could lie anywhere
        elif self.settings.out is not None and done:
            lines.append(f"results  {self.settings.out}")
        elif done:
            lines.append("next     add --out FOLDER to keep the results as files")
        lines += [f"next     {step}" for step in steps]
        return Answer(data, "\n".join(lines), code=2 if self.failed else min(self.codes, default=0))


def _shown(result: Result) -> str:
    """The result as people read it: its own text where the class has one, else its data."""
    if type(result).__str__ is not object.__str__:
        return str(result)
    return f"{result.source}: {to_json(result.to_dict())}"
