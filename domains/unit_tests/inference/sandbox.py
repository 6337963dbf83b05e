"""A place in which untrusted code runs and from which it reaches nothing.

Namespaces of its own (users, mounts, processes, network, IPC, host name) through util-linux's `unshare`, a root in
memory that shows system folders and the project read-only, no capabilities, limits of processor time, memory, files and
processes, a short list of environment variables, and the end of the whole process tree when its time is over. What a
machine does not offer is said by `probe`, and without a process tree and a network of its own nothing is run unless the
caller allows it. bubblewrap would do the same; it is on few machines, and `unshare` on nearly all. Instead of all this
the same programs run in containers of docker or podman where that is asked for (see `container.py`).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from domains.unit_tests.inference.container import PYTHON, Container, examined
from domains.unit_tests.inference.runs import BROKEN, LATE, Ended, Isolation, Limits, rlimits, watched
from suite.errors import InputError

FIRST_USER = 1_000_000_000
USERS = 1_000_000_000
"""Ids from here on, and so many of them, are no user's."""

_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt")
_CONFIGURATION = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
_ENVIRONMENT = ("LANG", "LC_ALL", "TZ")
_PASSWORDS = "root:x:0:0::/tmp:/bin/sh\n"


@dataclass(frozen=True)
class Sandbox:
    """Runs programs of a Python project.

    >>> Sandbox(project=Path(".")).run([sys.executable, "-c", "print(1)"]).stdout
    b'1\\n'

    Attributes:
        project: shown read-only at `/project`, where programs start.
        limits: what a run may use.
        shown: more files and folders of the host that are shown, read-only, at their own paths.
        unsafe: run without namespaces where the machine has none.
        environment: variables beside the few that every program gets.
        container: run in such ones, instead of in namespaces made here.
        loopback: programs in it can talk with each other over the loopback device; it leads nowhere else.
    """

    project: Path
    limits: Limits = field(default_factory=Limits)
    shown: tuple[Path, ...] = ()
    unsafe: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    container: Container | None = None
    loopback: bool = False

    @property
    def python(self) -> str:
        """The Python that runs in it, as the first word of `argv`."""
        return sys.executable if self.container is None else PYTHON

    @property
    def isolation(self) -> Isolation:
        """What is held off from the programs.

        Raises:
            InputError: containers cannot be run.
        """
        return probe() if self.container is None else examined(self.container).isolation

    def run(self, argv: Sequence[str], files: Mapping[str, str] | None = None, limits: Limits | None = None) -> Ended:
        """Run a program until it ends or its time is over.

        Args:
            argv: its words; the first is a path.
            files: texts to be written into the sandbox before, by absolute path below `/tmp`.
            limits: other than the sandbox's own.

        Raises:
            InputError: the machine offers no namespaces, and `unsafe` is not set; or a file lies outside of `/tmp`, or
                the place cannot be made this time.
        """
        limits = limits or self.limits
        for path in files or {}:
            if not path.startswith("/tmp/") or ".." in Path(path).parts:
                raise InputError(f"{path}: files for the sandbox lie below /tmp")
        if self.container is not None:
            shown = {path.resolve(): str(path.resolve()) for path in self.shown}
            environment = self._environ("/tmp")
            del environment["PATH"]  # the image's own
            binds = {**shown, self.project.resolve(): "/project"}
            return self.container.run(argv, files or {}, binds, environment, limits)
        isolation = probe()
        if isolation.namespaces:
            ended = self._isolated(argv, files or {}, limits)
            if ended.code == BROKEN and not ended.reason:
                raise InputError(f"the sandbox cannot be made: {ended.last_line}")
            return ended
        if not self.unsafe:
            raise InputError(
                f"this machine cannot isolate generated code ({isolation.reason}); `suite unit_tests doctor` says what "
                "is missing; run them in containers (--runner docker or podman), or allow it with --unsafe"
            )
        return self._limited(argv, files or {}, limits)

    def _isolated(self, argv: Sequence[str], files: Mapping[str, str], limits: Limits) -> Ended:
        with tempfile.TemporaryDirectory(prefix="sandbox-") as root:
            os.chmod(root, 0o755)
            hosts = [["/etc/hosts", "127.0.0.1 localhost\n"]] if self.loopback else []
            orders = {
                "root": root,
                "disk": limits.disk,
                "binds": [*_system(), *self._own()],
                "links": _links(),
                "files": [
                    ["/etc/passwd", _PASSWORDS],
                    ["/etc/group", "root:x:0:\n"],
                    *hosts,
                    *map(list, files.items()),
                ],
                # Limits on the number of processes do not bind root; run by it, the code becomes a user that nobody is,
                # another one in every run, since all processes of a user count.
                "user": FIRST_USER + secrets.randbelow(USERS) if os.geteuid() == 0 else None,
                "cwd": "/project",
                "loopback": self.loopback,
                "limits": rlimits(limits, own_users=True),
                "argv": list(argv),
                "env": self._environ("/tmp"),
                "broken": BROKEN,
                "late": LATE,
            }
            given = Path(root, "orders.json")
            given.write_text(json.dumps(orders), encoding="utf-8")
            return watched([*_unshare(), *_python(), str(_entry()), str(given)], limits, cwd="/", env={})

    def _own(self) -> list[tuple[str, str, bool]]:
        paths = [Path(sys.prefix), Path(sys.base_prefix), *self.shown]
        shown = [(str(path.resolve()), str(path.resolve()), False) for path in dict.fromkeys(paths) if path.exists()]
        # A virtual environment may be named by a path with links in it, which is how programs find it.
        named = [(str(path.resolve()), str(path), False) for path in paths if path.exists() and path != path.resolve()]
        inside = [one for one in [*shown, *named] if not one[1].startswith(tuple(f"{folder}/" for folder in _SYSTEM))]
        return [*inside, (str(self.project.resolve()), "/project", False)]

    def _environ(self, home: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        plain = {
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "HOME": home,
            "TMPDIR": home,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return {**kept, **plain, **self.environment}

    def _limited(self, argv: Sequence[str], files: Mapping[str, str], limits: Limits) -> Ended:
        """With limits and a copy of the project alone: the host's files can be read and its network reached."""
        with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
            copy = Path(folder, "project")
            shutil.copytree(self.project, copy, symlinks=True)
            words = [str(word).replace("/project", str(copy)) for word in argv]
            for path, text in files.items():
                target = Path(folder, path.removeprefix("/tmp/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            words = [word.replace("/tmp/", f"{folder}/") if word in files else word for word in words]
            numbers = rlimits(limits, own_users=False)
            prepare = f"{_LIMITED}\nrun({numbers!r})"
            return watched([*_python(), "-c", prepare, *words], limits, cwd=str(copy), env=self._environ(folder))


_LIMITED = """
import os, resource, sys
def run(limits):
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
    os.execv(sys.argv[1], sys.argv[1:])
""".strip()


def _unshare() -> list[str]:
    """The words that make namespaces; without rights on the host that needs one of users, too."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    space = ["--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--net", "--ipc", "--uts"]
    return ["unshare", *users, *space, "--"]


def _python() -> list[str]:
    return [sys.executable, "-I", "-S"]


@cache
def _entry() -> Path:
    return Path(__file__).with_name("enter.py")


def _system() -> list[tuple[str, str, bool]]:
    """System folders that are folders; where they are links the same links are made."""
    paths = [path for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    paths += [path for path in _CONFIGURATION if os.path.exists(path) and not os.path.islink(path)]
    return [(path, path, False) for path in paths]


def _links() -> list[tuple[str, str]]:
    return [(os.readlink(path), path) for path in (*_SYSTEM, *_CONFIGURATION) if os.path.islink(path)]


@cache
def probe() -> Isolation:
    """Find out, by doing it, what this machine holds off."""
    nothing = Isolation(False, False, True, os.geteuid() != 0)
    if shutil.which("unshare") is None:
        return replace(nothing, reason="util-linux's unshare is not installed")
    with tempfile.TemporaryDirectory() as project:
        os.chmod(project, 0o755)
        try:
            ended = Sandbox(Path(project))._isolated([sys.executable, "-I", "-S", "-c", _PROBE], {}, Limits(seconds=15))
        except OSError as error:
            return replace(nothing, reason=str(error))
    if ended.code != 0 or ended.reason:
        return replace(nothing, reason=ended.last_line or f"exit code {ended.code}, {ended.reason}")
    told = json.loads(ended.stdout)
    return Isolation(True, not told["network"], told["memory"], told["processes"])


_PROBE = """
import json, os, resource, socket
def connects():
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
        return True
    except OSError as error:
        return error.errno not in (99, 101)  # no address, no network: refused would mean that there is one
try:
    bytearray(1 << 40)
    memory = False
except MemoryError:
    memory = True
limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
print(json.dumps({"network": connects(), "memory": memory, "processes": limit < 1000}))
"""
