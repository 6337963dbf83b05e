"""The command `suite`: which command is meant, and which exit code its outcome has."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from suite import __version__
from suite.cli import options
from suite.cli.calling import help_answer, run
from suite.cli.output import Answer, answers, note, table
from suite.cli.quiet import quiet
from suite.domain import discover
from suite.errors import InputError

COMMANDS = {
    "adapters": "list, show, pull, push, verify, merge, convert, export and swap adapters",
    "methods": "every fine-tuning method, and what each can do",
    "compare": "several methods on one task under one budget: accuracy, costs, agreement",
    "doctor": "versions, devices, caches, system libraries, and what each extra lacks",
    "demo": "show every installed domain on its shipped adapter, in one report.html",
    "new": "the skeleton of a domain or of a method, to start from",
}

# How the system refuses a place that the user gave: rights, room, a file for a folder, a name too long.
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
}

# What a reader that goes away (`suite ... | head`) leaves behind is no failure of ours.
_DONE = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `suite` with `argv` (default: the process's own); return the exit code.

    0: done. 2: the input is wrong, one line says what, where and what to do. 1: our fault, with the traceback.
    130: interrupted.
    """
    words, as_json = _without_json(list(sys.argv[1:] if argv is None else argv))
    with quiet(), answers(as_json) as stream:
        answer = _outcome(words)
        try:
            answer.print(stream, as_json=as_json)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _DONE
    return answer.code


def command() -> int:
    """The process of the command: `main`, and out."""
    # By default threads of libgomp that wait for the others keep their cores for milliseconds. Where another program
    # uses these too, every small product then waits for a thread that has none: ten to a hundred times as long as one
    # thread takes. On idle cores waiting for so many turns is as fast as waiting on. Read when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words = sys.argv[1:]
    code = main(words)
    if "count" in words[1:2]:
        # Taking apart what the libraries made takes the interpreter longer than the command computes; nothing that it
        # would close is open.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _without_json(argv: list[str]) -> tuple[list[str], bool]:
    """Take `--json` out of `argv`, wherever it stands."""
    return [word for word in argv if word != "--json"], "--json" in argv


def _outcome(argv: Sequence[str]) -> Answer:
    """Run the command and turn whatever happens into an answer."""
    try:
        return dispatch(argv)
    except options.HelpAsked as help_:
        return help_answer(help_.text)
    except InputError as error:
        return _wrong(str(error))
    except KeyboardInterrupt as interrupt:
        line = str(interrupt) or "interrupted"
        note(line)
        return Answer({"error": line}, code=130, said=True)
    except BrokenPipeError:
        return Answer({}, code=_DONE)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            place = "a file" if error.filename is None else f"{error.filename}:"  # a full disk names none
            return _wrong(
                f"{place} cannot be read or written ({error.strerror}); check its rights and the room on its disk, "
                "or give another place"
            )
        traceback.print_exc()
        return Answer({"error": f"{type(error).__name__}: {error}"}, code=1, said=True)


def _wrong(what: str) -> Answer:
    """Say what is wrong with what the user gave, in one line."""
    line = " ".join(what.split())
    note(f"error: {line}")
    return Answer({"error": line}, code=2, said=True)


def dispatch(argv: Sequence[str]) -> Answer:
    """Run the command that the first word of `argv` names.

    Raises:
        InputError: no command, domain or verb is called so, or its own input is wrong.
    """
    name, rest = (argv[0], argv[1:]) if argv else ("--help", ())
    if name in ("-h", "--help"):
        return help_answer(_overview())
    if name in ("-V", "--version"):
        return Answer({"version": __version__}, f"suite {__version__}")
    if name in COMMANDS:
        return _command(name, rest)
    found = discover()
    if name in found:
        return import_module("suite.cli.verbs").dispatch(found[name], rest)
    near = get_close_matches(name, [*found, *COMMANDS], n=1)
    raise InputError(f"no command or domain is called {name!r}; {_advice(near)}")


def _advice(near: list[str]) -> str:
    return f"did you mean suite {near[0]}?" if near else "suite --help lists them"


def _command(name: str, argv: Sequence[str]) -> Answer:
    """Run a command that belongs to no domain: a function of its module, or one of several verbs."""
    module = import_module(f"suite.cli.{name}")
    verbs: dict[str, Callable[..., Any]] | None = getattr(module, "VERBS", None)
    if verbs is None:
        return run(f"suite {name}", getattr(module, name), argv)
    verb, rest = (argv[0], argv[1:]) if argv else ("--help", ())
    if verb in ("-h", "--help"):
        lines = {verb: options.description(function).partition("\n")[0] for verb, function in verbs.items()}
        return help_answer(table(f"suite {name} VERB [options]", COMMANDS[name], {"verbs": lines}))
    if verb not in verbs:
        near = get_close_matches(verb, verbs, n=1) or list(verbs)
        raise InputError(f"suite {name} has no verb {verb!r}; there is {', '.join(near)}")
    return run(f"suite {name} {verb}", verbs[verb], rest)


def _overview() -> str:
    domains = {name: domain.title for name, domain in discover().items()}
    groups = {"domains": domains, "commands": COMMANDS}
    text = table(
        "suite DOMAIN VERB [options]   or   suite COMMAND [options]", "Parameter-efficient fine-tuning.", groups
    )
    return f"{text}\n\nEvery command takes --help and --json. Start with: suite demo"
