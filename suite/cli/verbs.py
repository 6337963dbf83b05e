"""The verbs of a domain, made from its contract alone, and the verbs of its own."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from suite.cli.calling import help_answer, run
from suite.cli.output import Answer, table
from suite.domain import Domain, load
from suite.errors import InputError

Verb = Callable[[Domain, Sequence[str]], Answer]

# Each is `run(domain, argv)` of the module of its name.
_GENERIC = {
    "train": "train an adapter by a configuration; dotted options override it",
    "predict": "from files, folders or standard input to results",
    "evaluate": "score an adapter on held-out data",
    "count": "trainable and all parameters of a configuration, without any download",
}


def dispatch(domain: Domain, argv: Sequence[str]) -> Answer:
    """Run the verb of `domain` that the first word of `argv` names.

    Raises:
        InputError: the domain has no such verb, or what the verb was given is wrong.
    """
    verb, rest = (argv[0], argv[1:]) if argv else ("--help", ())
    if verb in ("-h", "--help"):
        return help_answer(overview(domain))
    prog = f"suite {domain.name} {verb}"
    if verb in domain.verbs:
        answer = run(prog, load(domain.verbs[verb]), rest)
        return _demo_in_words(answer) if verb == "demo" else answer
    if verb in _GENERIC and domain.tasks:
        generic: Verb = import_module(f"suite.cli.{verb}").run
        return generic(domain, rest)
    names = list(dict.fromkeys([*(_GENERIC if domain.tasks else ()), *domain.verbs]))
    near = get_close_matches(verb, names, n=1) or names
    raise InputError(f"suite {domain.name} has no verb {verb!r}; there is {', '.join(near)}")


def overview(domain: Domain) -> str:
    """The help page of a domain."""
    verbs = (_GENERIC if domain.tasks else {}) | {
        verb: _first_line(reference) for verb, reference in domain.verbs.items()
    }
    return table(f"suite {domain.name} VERB [options]", domain.title, {"verbs": verbs})


def _demo_in_words(answer: Answer) -> Answer:
    """A demo's answer as people read it; `suite demo` makes its page of the same data."""
    shown = answer.data
    if answer.message or "title" not in shown:
        return answer
    parts = [shown["title"], shown.get("text") or shown.get("summary") or "", *map(str, shown.get("pictures", ()))]
    return replace(answer, message="\n\n".join(part for part in parts if part))


def _first_line(reference: str) -> str:
    """The first line of a function's docstring, read from its source: importing every verb would cost seconds."""
    module, _, name = reference.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next((ast.get_docstring(function) or "" for function in functions), "").partition("\n")[0]
