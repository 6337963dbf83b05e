"""What users install: the wheel, in an environment and a folder that know nothing of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(PYTHON, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, CHECKOUT)
    [built] = folder.glob("peft_suite-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which borrows its dependencies from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    _run(PYTHON, "-m", "venv", "--without-pip", folder)
    _run(PYTHON, "-m", "pip", "--python", folder, "install", "--quiet", "--no-deps", "--no-index", wheel)
    [site] = folder.glob("lib/python*/site-packages")
    # As plain entries of the path: an editable installation's own .pth in there is not followed.
    borrowed = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return folder


def test_it_holds_all_code_configurations_and_embedded_defaults(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"suite", "domains"}
    places = {"suite": "suite", "domains": "domains"}
    places |= {folder: f"suite/_assets/{folder}" for folder in ("configs", "checkpoints")}
    for folder, place in places.items():
        files = [path for path in (CHECKOUT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        absent = {f"{place}/{path.relative_to(CHECKOUT / folder).as_posix()}" for path in files} - names
        assert files and not absent, absent


def test_it_shows_a_demo_far_from_the_checkout(environment: Path, tmp_path: Path) -> None:
    done = _run(environment / "bin/suite", "demo", "relation_extraction", "--out", "shown", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert Path(said["report"]) == tmp_path / "shown" / "report.html"
    [shown] = said["domains"]
    assert shown["error"] is None
    pictures = [tmp_path / picture for picture in shown["pictures"]]
    assert pictures and all(picture.stat().st_size > 5_000 for picture in pictures)
    assert (tmp_path / "shown" / "report.html").stat().st_size > sum(picture.stat().st_size for picture in pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["shown"]


def test_its_code_and_its_files_are_those_of_the_environment(environment: Path, tmp_path: Path) -> None:
    ask = (
        "import json, sys, suite, domains; from suite import hub; from suite.hub import paths\n"
        "places = [suite.__file__, domains.__file__, paths.assets(), hub.resolve('tiny', 'relation_extraction')]\n"
        "print(json.dumps({'places': list(map(str, places)), 'path': sys.path}))"
    )
    said = json.loads(_run(environment / "bin/python", "-c", ask, cwd=tmp_path).stdout)
    assert all(Path(place).is_relative_to(environment) for place in said["places"]), said["places"]
    assert str(CHECKOUT) not in said["path"]


def _run(*argv: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # A proxy that nobody answers: whoever asks the network for something fails.
    offline = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, argv)), env=kept | offline, cwd=cwd, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done
