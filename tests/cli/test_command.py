"""The command as a whole: help, exit codes, `--json`, discovery."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import suite.domain
from suite.cli import main as command
from suite.cli.output import Answer
from suite.errors import InputError
from tests.cli.conftest import Command, entry_point


def process(*argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-m", "suite", *argv], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("argv", [(), ("relation_extraction",)], ids=["suite", "domain"])
def test_help_is_light(argv: tuple[str, ...]) -> None:
    code = (
        "import sys; from suite.cli.main import main\n"
        f"code = main({[*argv, '--help']!r})\n"
        "heavy = {'torch', 'peft', 'lightning', 'transformers', 'jsonargparse', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: suite")


@pytest.mark.parametrize("argv", [("--help",), ("relation_extraction", "--help")], ids=["suite", "domain"])
def test_help_answers_in_half_a_second(argv: tuple[str, ...]) -> None:
    # Processor time of this one child: what else the machine or this process does says nothing about the command.
    child = subprocess.Popen([sys.executable, "-m", "suite", *argv], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    assert used.ru_utime + used.ru_stime < 0.5


def test_a_domain_of_another_distribution_is_found(fake_domain: None, suite: Command) -> None:
    overview = suite("--help")
    assert overview.code == 0
    assert "four numbers to one of three classes" in overview.out
    assert "relation_extraction" in overview.out
    verbs = suite("fake")
    assert verbs.code == 0
    assert "Add two numbers." in verbs.out
    assert all(verb in verbs.out for verb in ("train", "predict", "evaluate", "count", "demo"))


def test_a_broken_domain_of_another_distribution_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: Command
) -> None:
    monkeypatch.syspath_prepend(entry_point(tmp_path / "site", broken="no_such_module:DOMAIN"))
    with pytest.warns(UserWarning, match="broken.*cannot be loaded"):
        outcome = suite("--help")
    assert outcome.code == 0
    assert "relation_extraction" in outcome.out


def test_a_taken_name_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = entry_point(tmp_path / "site", fake="tests.domains.fake:DOMAIN", again="tests.domains.fake:DOMAIN")
    monkeypatch.syspath_prepend(site)
    with pytest.warns(UserWarning, match="the name is taken"):
        assert "fake" in suite_domains()


def suite_domains() -> dict[str, suite.domain.Domain]:
    return suite.domain.discover()


def test_find_names_the_nearest_domain() -> None:
    with pytest.raises(InputError, match="did you mean relation_extraction"):
        suite.domain.find("relation_extracton")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["doktor"], "did you mean suite doctor?"),
        (["relation_extractoin"], "did you mean suite relation_extraction?"),
        (["xyzzy"], "suite --help lists them"),
        (["fake", "trian"], "there is train"),
        (["adapters", "pul"], "there is pull"),
        (["fake", "add", "x"], "FIRST: 'x' is no whole number"),
        (["fake", "count"], "--config"),
        (["fake", "count", "--config", "absent.yaml"], "absent.yaml"),
        (["fake", "train"], "--config must be given"),
        (["fake", "train", "--config", "absent.yaml"], "absent.yaml"),
        (["demo", "fkae"], "did you mean fake?"),
        (["methods", "lroa"], "lora"),
    ],
    ids=" ".join,
)
def test_wrong_input_is_exit_code_2_and_one_line(fake_domain: None, suite: Command, argv: list[str], said: str) -> None:
    outcome = suite(*argv)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("error: ")
    assert said in outcome.err


def test_verbs_are_named_once(suite: Command) -> None:
    said = suite("code_review", "qqq").err
    verbs = said.partition("there is ")[2].strip().split(", ")
    assert len(verbs) == len(set(verbs)) and {"train", "predict", "review", "demo"} <= set(verbs)


def test_a_verb_of_its_own(fake_domain: None, suite: Command) -> None:
    assert suite("fake", "add", "2", "3").out == "sum 5\n"
    assert suite("fake", "add", "--second", "3", "2", "--twice").out == "sum 10\n"


@pytest.mark.parametrize("argv", [("--json", "fake", "add", "2"), ("fake", "add", "2", "--json")])
def test_json_may_stand_anywhere(fake_domain: None, suite: Command, argv: tuple[str, ...]) -> None:
    assert suite(*argv).json() == {"sum": 3, "message": "sum 3"}


def test_json_of_errors_and_help(fake_domain: None, suite: Command) -> None:
    outcome = suite("fake", "add", "--json")
    assert outcome.code == 2
    assert "--first must be given" in outcome.json()["error"]
    assert "--first must be given" in outcome.err
    assert "Add two numbers." in suite("fake", "add", "--help", "--json").json()["help"]
    assert suite("--version", "--json").json()["version"] == suite_version()


def suite_version() -> str:
    import suite

    return suite.__version__


def noisy() -> Answer:
    """Print like a library and like a child process."""
    print("from Python")
    os.write(1, b"from C\n")
    subprocess.run(["echo", "from a child"], check=True)
    return Answer({"value": float("nan")}, "done")


def test_json_leaves_nothing_else_on_standard_output(monkeypatch: pytest.MonkeyPatch, suite: Command) -> None:
    monkeypatch.setattr(command, "dispatch", lambda argv: noisy())
    outcome = suite("--json")
    assert outcome.json() == {"value": None}
    assert {"from Python", "from C", "from a child"} <= set(outcome.err.splitlines())
    assert suite().out.splitlines()[-1] == "done"


def test_our_fault_is_exit_code_1_with_the_traceback(monkeypatch: pytest.MonkeyPatch, suite: Command) -> None:
    def fail(argv: list[str]) -> Answer:
        raise RuntimeError("ours")

    monkeypatch.setattr(command, "dispatch", fail)
    outcome = suite("--json")
    assert outcome.code == 1
    assert outcome.json() == {"error": "RuntimeError: ours"}
    assert "Traceback" in outcome.err


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, 2),
        (errno.EROFS, 2),
        (errno.ENOSPC, 2),
        (errno.ENOTDIR, 2),
        (errno.EEXIST, 2),
        (errno.ENAMETOOLONG, 2),
        (errno.ENOENT, 1),
        (errno.EBADF, 1),
    ],
)
def test_a_place_that_the_system_refuses_is_one_line_and_a_fault_of_ours_is_not(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, suite: Command
) -> None:
    def refuse(argv: list[str]) -> Answer:
        raise OSError(number, os.strerror(number), "/somewhere/out")

    monkeypatch.setattr(command, "dispatch", refuse)
    outcome = suite("--json")
    assert outcome.code == code and ("Traceback" in outcome.err) == (code == 1)
    if code == 2:
        [line] = outcome.err.splitlines()
        assert line.startswith("error: /somewhere/out: ") and os.strerror(number) in line
        assert outcome.json() == {"error": line.removeprefix("error: ")}


def test_a_full_disk_that_names_no_file_is_one_line(monkeypatch: pytest.MonkeyPatch, suite: Command) -> None:
    def refuse(argv: list[str]) -> Answer:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(command, "dispatch", refuse)
    outcome = suite()
    assert outcome.code == 2
    assert outcome.err.startswith("error: a file cannot be read or written (No space left on device); check its rights")


def test_interrupted_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, suite: Command) -> None:
    def stop(argv: list[str]) -> Answer:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "dispatch", stop)
    outcome = suite()
    assert (outcome.code, outcome.out) == (130, "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader = subprocess.Popen([sys.executable, "-m", "suite", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.close()
    assert reader.wait() == 0
    assert reader.stderr is not None
    assert reader.stderr.read() == b""


def test_ctrl_c_from_outside(tmp_path: Path) -> None:
    code = (
        "import sys, time, suite.cli.main as command\n"
        "def wait(argv): print('ready', flush=True); time.sleep(60)\n"
        "command.dispatch = wait\n"
        "sys.exit(command.main([]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, "interrupted\n")


def test_python_m_suite_is_the_command() -> None:
    done = process("--version", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"version": suite_version()}
