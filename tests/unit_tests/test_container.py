"""Tests in containers of docker or podman: the same verdicts as in namespaces, and nothing more that they may do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from domains.unit_tests.inference import container
from domains.unit_tests.inference.container import Container
from domains.unit_tests.inference.runs import MEGABYTE, Limits
from domains.unit_tests.inference.sandbox import Sandbox, probe
from domains.unit_tests.types import WriterQuery
from suite.cli.main import main
from suite.errors import InputError
from tests.unit_tests import hostile, stand_in_docker
from tests.unit_tests.scripted import Scripted

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
ENTER = Path(container.__file__).with_name("enter.py")
QUICK = Limits(seconds=60, processor=3, memory=512 * MEGABYTE)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for docker on the PATH, and three images of it."""
    folder = tmp_path / "tools"
    (folder / "bare").mkdir(parents=True)
    python = folder / "bare" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # knows none of the packages
    python.chmod(0o755)
    broken = folder / "broken" / "python3"  # its pytest is there and cannot be imported
    (folder / "broken" / "site" / "pytest").mkdir(parents=True)
    (folder / "broken" / "site" / "pytest" / "__init__.py").write_text("import what_is_not_there\n")
    broken.write_text(f'#!/bin/sh\nPYTHONPATH={folder}/broken/site exec {sys.executable} -P "$@"\n')
    broken.chmod(0o755)
    folder.chmod(0o755)
    shown = [str(Path(path).resolve()) for path in dict.fromkeys((sys.prefix, sys.base_prefix))]
    images = {
        "tests:1": {"path": [f"{sys.prefix}/bin", "/usr/bin", "/bin"], "shown": shown},
        "bare": {"path": [str(folder / "bare")], "shown": [*shown, str(folder / "bare")]},
        "empty": {"path": ["/no/such/folder"], "shown": []},
        "broken": {"path": [str(folder / "broken")], "shown": [*shown, str(folder / "broken")]},
        "closed": {"path": [f"{sys.prefix}/bin", "/usr/bin"], "shown": shown, "tmp": "mode=755"},
        "kept": {"path": [], "shown": [], "volumes": ["/data"]},
    }
    stand_in_docker.install(folder, "docker", ENTER, images)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    container.examined.cache_clear()
    yield folder
    container.examined.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project, with a comma"
    (folder / "pkg").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "mod.py").write_text(hostile.MODULE)
    return folder


WORDS = [
    *("run", "--rm", "--name", "x", "--pull", "never", "--log-driver", "none", "--network", "none", "--read-only"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt", "label=disable"),
]
BOUNDS = [
    *("--memory", "603979776", "--memory-swap", "603979776", "--pids-limit", "64", "--ulimit", "cpu=3:3"),
    *("--ulimit", "core=0:0", "--ulimit", "nofile=256:256", "--shm-size", "67108864"),
    *("--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777,size=67108864"),
    *("--mount", 'type=bind,"source=/a, b",target=/project,readonly', "--workdir", "/project"),
    *("--entrypoint", "python3", "img:1", "-I", "-S", "/enter.py", "/orders.json"),
]


@pytest.mark.parametrize(
    ("program", "user", "between"),
    [
        ("docker", 0, ["--user", "65534:65534"]),
        ("docker", 1000, ["--user", "1000:1000"]),
        ("podman", 0, ["--user", "65534:65534", "--http-proxy=false", "--image-volume=ignore"]),
        ("podman", 1000, ["--user", "1000:1000", "--http-proxy=false", "--image-volume=ignore", "--userns", "keep-id"]),
    ],
)
def test_the_command_line_of_a_run(program, user, between, monkeypatch):
    """No network, nothing to write on but memory, no right, nobody's user or the caller's own, and bounds."""
    for name in ("getuid", "geteuid", "getgid"):
        monkeypatch.setattr(os, name, lambda: user)
    words = Container(program, "img:1").command("x", {Path("/a, b"): "/project"}, QUICK)
    assert words == [program, *WORDS, *between, *BOUNDS]


@isolated
def test_verdicts_in_containers_are_those_in_namespaces(tools, project, tmp_path):
    """Outcomes, coverage, mutants and the written file; of containers that were ended none is left."""
    names = ("good", "good_count", "wrong", "memory", "network", "exits", "deletes", "prints")
    tests = tmp_path / "made.py"
    tests.write_text(
        hostile.HEAD + "\n\n".join(f"def test_{name}():\n    {hostile.TESTS[name][1]}\n" for name in names)
    )
    found = {}
    for runner in ("namespaces", "docker"):
        out = tmp_path / runner
        words = ["unit_tests", "judge", str(project / "pkg/mod.py"), str(tests), "--project", str(project)]
        words += ["--out", str(out), "--repeat", "1", "--timeout", "60", "--mutants", "4", "--runner", runner]
        assert main([*words, *(["--image", "tests:1"] if runner == "docker" else [])]) == 0
        record = json.loads((out / "test_mod.json").read_text())
        rows = [(row["name"], row["reason"], row["runs"]) for row in record["tests"]]
        same = [record[name] for name in ("totals", "coverage_after", "uncovered_lines", "mutation", "isolation")]
        found[runner] = rows, same, (out / "test_mod.py").read_text(), (out / "test_mod.lcov").read_text()
    assert [reason for _, reason, _ in found["docker"][0]] == [hostile.TESTS[name][0] or None for name in names]
    assert found["docker"] == found["namespaces"]
    assert list((tools / "state").iterdir()) == []
    assert len((tools / "removed.txt").read_text().splitlines()) == 1  # what printed without end


@isolated
def test_a_container_whose_time_is_over_is_ended(tools, project, monkeypatch):
    """Ending the client alone ends nothing."""
    box = Sandbox(project, Limits(seconds=20, memory=512 * MEGABYTE), container=Container("docker", "tests:1"))
    endless = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(300)"
    assert box.run([box.python, "-c", endless], limits=Limits(seconds=1)).reason == "timeout"
    assert list((tools / "state").iterdir()) == []
    monkeypatch.setattr(container, "_MAKING", -19.0)  # as if it were never made
    assert box.run([box.python, "-c", endless]).reason == "timeout"
    assert list((tools / "state").iterdir()) == [] and len((tools / "removed.txt").read_text().splitlines()) == 1


@isolated
def test_the_time_that_a_container_takes_to_be_made_is_not_the_programs(tools, project):
    (tools / "slow").write_text("2")
    box = Sandbox(project, QUICK, container=Container("docker", "tests:1"))
    ended = box.run([box.python, "-c", "print(1)"], limits=Limits(seconds=1))
    assert (ended.code, ended.reason, ended.stdout) == (0, "", b"1\n")
    assert box.run([box.python, "-c", "raise SystemExit(124)"]).reason == ""


@isolated
def test_a_container_shows_nothing_and_keeps_nothing(tools, project, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    box = Sandbox(project, QUICK, container=Container("docker", "tests:1"))

    def said(code: str, files: dict[str, str] | None = None) -> str:
        ended = box.run([box.python, "-I", "-S", "-c", code], files)
        return (ended.stdout + ended.stderr).decode()

    variables = said("import os; print(dict(os.environ), os.getuid())")
    assert "'HOME': '/tmp'" in variables and "API_TOKEN" not in variables and "password" not in variables
    assert int(variables.split()[-1]) != 0 or os.geteuid() != 0
    assert "Read-only file system" in said("open('/project/x', 'w')")
    assert "Read-only file system" in said("open('/x', 'w')")
    assert "Read-only file system" in said("open('/tmp/given/a.txt', 'w')", {"/tmp/given/a.txt": "1"})
    assert said("print(open('/tmp/given/a.txt').read())", {"/tmp/given/a.txt": "text"}).strip() == "text"
    assert "No space left" in said("for n in range(9):\n    open(f'/tmp/{n}', 'wb').write(b'0' * (15 * 2**20))")
    status = said("print(open('/proc/self/status').read())")
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    assert box.run([box.python, "-c", "raise SystemExit(125)"]).code == 1
    assert sorted(path.name for path in project.iterdir()) == ["pkg"]


@isolated
def test_a_model_s_tests_are_written_from_containers(tools, project, tmp_path):
    script = {"count": ["):\n    assert count(['a']) == {'a': 1}\n", "):\n    assert count([]) == 1\n"]}
    options = {"project": project, "function": ("count",), "samples": 2, "repeat": 1}
    [written] = Scripted(script).predict(
        project / "pkg" / "mod.py", out=tmp_path / "out", runner="docker", image="tests:1", **options
    )
    assert written.error is None, written.error
    assert [verdict.reason for verdict in written.judged.verdicts] == ["", "failed"]
    assert (tmp_path / "out" / "test_mod.py").is_file() and list((tools / "state").iterdir()) == []


@isolated
def test_doctor_says_what_containers_hold_off_and_have(tools, capsys):
    assert main(["unit_tests", "doctor", "--runner", "docker", "--image", "tests:1"]) == 0
    out = capsys.readouterr().out
    assert "not enforced" not in out and out.count("enforced") == 5
    assert f"Python {sys.version.split()[0]}, coverage, pytest" in out


@isolated
@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nowhere:2", "--image nowhere:2: docker has no such image; `docker pull nowhere:2`, or build it"),
        ("broken", "--image broken: its python3 has no pytest; build one"),
        ("closed", "--image closed: its /tmp is closed to others; build one from it with `RUN chmod 1777 /tmp`"),
        ("kept", "--image kept: has volumes (/data), through which tests could write on the disk"),
        ("empty", "--image empty: has no python3 in its PATH"),
        ("bare", "--image bare: its python3 has no coverage and no pytest; build one from it with `RUN pip install"),
    ],
)
def test_an_image_that_cannot_run_tests_is_refused_in_one_line(tools, project, tmp_path, capsys, image, said):
    (tmp_path / "made.py").write_text("def test_a():\n    assert 1\n")
    words = [str(project / "pkg/mod.py"), str(tmp_path / "made.py"), "--project", str(project)]
    assert main(["unit_tests", "judge", *words, "--runner", "docker", "--image", image]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_program_that_is_not_there_or_does_not_answer_is_one_line(tools, capsys):
    words = ["unit_tests", "doctor", "--image", "tests:1", "--runner"]
    assert main([*words, "podman"]) == 2
    assert "--runner podman: there is no podman on this machine; install it" in capsys.readouterr().err
    (tools / "stopped").touch()
    assert main([*words, "docker"]) == 2
    err = capsys.readouterr().err
    assert "--runner docker: Is it running?" in err and err.count("\n") == 1


@isolated
def test_a_container_that_cannot_be_made_is_no_fault_of_the_test(tools, project):
    box = Sandbox(project, QUICK, shown=(project / "gone",), container=Container("docker", "tests:1"))
    with pytest.raises(InputError, match=r"docker: a container of tests:1 cannot be made: .*does not exist"):
        box.run([box.python, "-c", "print(1)"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runner": "docker"}, "--runner docker: name an image with --image"),
        ({"image": "a"}, "--image a: is for containers; add --runner docker"),
        ({"runner": "podman", "image": "a", "unsafe": True}, "--runner podman with --unsafe"),
        ({"runner": "chroot"}, "choose one of namespaces, docker, podman"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        WriterQuery(**options)
