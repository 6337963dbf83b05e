"""Runs in containers of docker or podman: where the kernel lets nobody make namespaces, and where a project's packages
lie in an image and not on this machine.

A run has a container of its own, which is gone when the run is over. What it may not is said on the command line:
network, writing anywhere but in memory, any right, any user's rights but the caller's own (or nobody's, for root). The
programs are those of the image; limits of each process are set inside by the same `enter.py` as in the sandbox of
namespaces, so that memory that is used up is the same `MemoryError`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from domains.unit_tests.inference.runs import BROKEN, LATE, MEGABYTE, Ended, Isolation, Limits, rlimits, watched
from domains.unit_tests.types import RunnerName
from suite.errors import InputError

PYTHON = "python3"
"""Of the image; runs `enter.py`, and the tests where they are Python."""
NOBODY = 65534
_ENTER = Path(__file__).with_name("enter.py")
_MAKING = 60.0
"""Seconds that a container may take to be made."""
_REMOVAL = 60.0
"""Seconds that the end of a container may take."""
_ABSENT = ("no such image", "image not known", "no such object")


@dataclass(frozen=True)
class Container:
    """What runs containers, and the image that they are of.

    Attributes:
        image: has Python 3.9 or newer as `python3`, and what the tests need: pytest and coverage, or a JDK.
    """

    program: RunnerName
    image: str

    def run(
        self,
        argv: Sequence[str],
        files: Mapping[str, str],
        shown: Mapping[Path, str],
        environment: Mapping[str, str],
        limits: Limits,
    ) -> Ended:
        """Run a program of the image until it ends or its time is over.

        Args:
            argv: its words; the first is a path, or a name that the image's PATH knows.
            files: texts that lie in the container, by path below `/tmp`.
            shown: files and folders of this machine that are shown read-only, and where.
            environment: variables beside the image's own.

        Raises:
            InputError: the container could not be made.
        """
        name = f"peft-suite-{secrets.token_hex(8)}"
        orders = {
            "root": None,
            "cwd": "/project",
            "limits": rlimits(limits, own_users=False),
            "argv": list(argv),
            "env": dict(environment),
            "broken": BROKEN,
            "late": LATE,
            "seconds": limits.seconds,
        }
        # The clock of the container ends the program; this one a container that is never made, or does not end.
        longer = replace(limits, seconds=limits.seconds + _MAKING)
        with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
            # Below the temporary folder, which is its owner's alone, what the container's user must be able to read.
            given = Path(folder, "given")
            binds = {_ENTER: "/enter.py", _written(given / "orders.json", json.dumps(orders)): "/orders.json", **shown}
            for path, text in files.items():
                _written(given / path.lstrip("/"), text)
            if files:
                binds |= {entry: f"/tmp/{entry.name}" for entry in sorted((given / "tmp").iterdir())}
            for one in (Path(folder), given, *given.rglob("*")):
                one.chmod(0o755 if one.is_dir() else 0o644)
            over = False
            try:
                ended = watched(self.command(name, binds, limits), longer, cwd="/", env=os.environ)
                over = not ended.reason
            finally:
                if not over:
                    self._remove(name)
        if ended.code == BROKEN and not ended.reason:
            said = _error(ended.stderr.decode("utf-8", "replace"))
            raise InputError(f"{self.program}: a container of {self.image} cannot be made: {said}")
        return replace(ended, reason="timeout") if ended.code == LATE and not ended.reason else ended

    def command(self, name: str, binds: Mapping[Path, str], limits: Limits) -> list[str]:
        """The command line of a run.

        Args:
            name: of the container.
            binds: files and folders of this machine that are shown read-only, and where.
        """
        user, group = (os.getuid(), os.getgid()) if os.geteuid() else (NOBODY, NOBODY)
        # Files in memory count as memory here.
        memory = str(limits.memory + limits.disk)
        return [
            *(self.program, "run", "--rm", "--name", name, "--pull", "never", "--log-driver", "none"),
            *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            # SELinux would show nothing of this machine unless its files were labelled anew; they are read-only.
            *("--security-opt", "label=disable"),
            *("--user", f"{user}:{group}", *self._only_podman()),
            *("--memory", memory, "--memory-swap", memory, "--pids-limit", str(limits.processes)),
            *("--ulimit", f"cpu={limits.processor}:{limits.processor}", "--ulimit", "core=0:0"),
            *("--ulimit", f"nofile={limits.files}:{limits.files}"),
            *("--shm-size", str(limits.disk)),
            *("--tmpfs", f"/tmp:rw,exec,nosuid,nodev,mode=1777,size={limits.disk}"),
            *(word for source, target in binds.items() for word in ("--mount", _mount(source, target))),
            *("--workdir", "/project", "--entrypoint", PYTHON, self.image, "-I", "-S", "/enter.py", "/orders.json"),
        ]

    def _only_podman(self) -> list[str]:
        """Options without which podman is laxer than docker, or maps the caller to another user."""
        if self.program != "podman":
            return []
        return ["--http-proxy=false", "--image-volume=ignore", *(["--userns", "keep-id"] if os.geteuid() else [])]

    def _remove(self, name: str) -> None:
        """End a container whose client was ended: that alone ends nothing."""
        with suppress(subprocess.TimeoutExpired):
            subprocess.run([self.program, "rm", "--force", name], capture_output=True, timeout=_REMOVAL, check=False)


@dataclass(frozen=True)
class Image:
    """What an image's containers have, found out in one.

    Attributes:
        python: version. modules, programs: those that tests need and that are there.
    """

    python: str
    modules: frozenset[str]
    programs: frozenset[str]
    isolation: Isolation

    def told(self) -> str:
        """What is there, for people."""
        return ", ".join([f"Python {self.python}", *sorted(self.modules), *sorted(self.programs)])


def container_of(runner: RunnerName, image: str | None) -> Container | None:
    """The container that options name; None where tests run in namespaces of this machine."""
    return None if runner == "namespaces" or image is None else Container(runner, image)


@cache
def examined(container: Container) -> Image:
    """Find out, in a container, what an image has and what is held off there.

    Raises:
        InputError: the program or the image is not there, or a container cannot be made.
    """
    program, image = container.program, container.image
    if shutil.which(program) is None:
        raise InputError(f"--runner {program}: there is no {program} on this machine; install it, or leave it out")
    done = subprocess.run([program, "image", "inspect", image], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if any(mark in done.stderr.lower() for mark in _ABSENT):
            raise InputError(f"--image {image}: {program} has no such image; `{program} pull {image}`, or build it")
        said = _error(done.stderr) or f"`{program} image inspect` ends with {done.returncode}"
        raise InputError(f"--runner {program}: {said}")
    if program == "docker" and (volumes := _volumes(done.stdout)):
        raise InputError(
            f"--image {image}: has volumes ({', '.join(volumes)}), through which tests could write on the disk; build "
            "one without VOLUME"
        )
    limits = Limits(seconds=60.0, memory=512 * MEGABYTE)
    with tempfile.TemporaryDirectory(prefix="project-") as project:
        os.chmod(project, 0o755)
        ended = container.run(
            [PYTHON, "-c", _PROBE, str(limits.processes)], {}, {Path(project): "/project"}, {}, limits
        )
    if ended.code == _NOT_FOUND:
        said = _error(ended.stderr.decode("utf-8", "replace"))
        raise InputError(f"--image {image}: has no {PYTHON} in its PATH, or it does not start: {said}")
    if ended.code != 0 or ended.reason:
        raise InputError(f"--image {image}: cannot run tests: {ended.last_line or ended.reason}")
    told = json.loads(ended.stdout)
    if not told["writable"]:
        # Runtimes give the folder in memory the mode that the image's own has, whatever is asked for.
        raise InputError(f"--image {image}: its /tmp is closed to others; build one from it with `RUN chmod 1777 /tmp`")
    isolation = Isolation(True, not told["network"], told["memory"], told["processes"])
    return Image(told["python"], frozenset(told["modules"]), frozenset(told["programs"]), isolation)


_NOT_FOUND = 127
_PROBE = """
import importlib, json, os, shutil, signal, socket, sys
def connects():
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect(("192.0.2.1", 9))
        return True
    except OSError:
        return False
try:
    bytearray(1 << 40)
    memory = False
except MemoryError:
    memory = True
children, processes = [], False
for _ in range(int(sys.argv[1]) + 1):
    try:
        child = os.fork()
    except OSError:
        processes = True
        break
    if child == 0:
        signal.pause()
    children.append(child)
for child in children:
    os.kill(child, signal.SIGKILL)
modules = []
for name in ("pytest", "coverage"):
    try:  # one that is there, and lacks what it needs itself, runs no tests
        importlib.import_module(name)
        modules.append(name)
    except ImportError:
        pass
programs = [name for name in ("java", "javac", "mvn", "gradle") if shutil.which(name)]
print(json.dumps({"python": sys.version.split()[0], "network": connects(), "memory": memory, "processes": processes,
                  "modules": modules, "programs": programs, "writable": os.access("/tmp", os.W_OK)}))
""".strip()


def _volumes(inspected: str) -> list[str]:
    """Folders that every container of an image gets on the disk; docker has no option that leaves them out."""
    [image] = json.loads(inspected)
    return sorted((image.get("Config") or {}).get("Volumes") or {})


def _error(said: str) -> str:
    """The line of the programs' that says what is wrong: the last one that does not point to their help."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "--help" not in line]
    return lines[-1] if lines else ""


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _mount(source: Path, target: str) -> str:
    """A read-only bind as both programs read it: fields of CSV, since paths may hold commas."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={source}", f"target={target}", "readonly"])
    return line.getvalue()
