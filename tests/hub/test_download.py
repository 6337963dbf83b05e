from __future__ import annotations

import hashlib
import io
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from suite import hub
from suite.errors import InputError
from suite.hub import download
from suite.hub.references import Url
from tests.hub.server import Served, Site

pytestmark = pytest.mark.usefixtures("no_waiting")

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(DATA).hexdigest()


def left_over(cache: Path) -> list[str]:
    """Names of the files in the cache apart from locks and the receipts of verified files."""
    names = (path.name for path in cache.rglob("*") if path.is_file() and path.parent.name != "receipts")
    return sorted(name for name in names if name != ".lock")


def fetch(site: Site, name: str = "a.bin", sha256: str = SHA256) -> bytes:
    return download.fetch(Url(f"{site.address}/{name}", sha256)).read_bytes()


def test_a_file_is_fetched_once(site: Site, cache: Path) -> None:
    site.files["/a.bin"] = Served(DATA)
    assert fetch(site) == DATA
    assert fetch(site) == DATA
    assert len(site.ranges("/a.bin")) == 1
    assert left_over(cache) == ["a.bin"]


def test_a_slow_server_is_waited_for(site: Site) -> None:
    site.files["/a.bin"] = Served(DATA[: 2**18], pause=0.1)
    assert fetch(site, sha256="") == DATA[: 2**18]


@pytest.mark.parametrize(
    ("served", "resumes"),
    [
        (Served(DATA, cut=5 * 2**16, cuts=3), True),
        (Served(DATA, cut=5 * 2**16, cuts=3, etag=""), True),  # the sha256 tells that the pieces belong together
        (Served(DATA, cut=5 * 2**16, cuts=3, ranges=False), False),
    ],
)
def test_a_transfer_that_breaks_off_goes_on(site: Site, cache: Path, served: Served, resumes: bool) -> None:
    site.files["/a.bin"] = served
    assert fetch(site) == DATA
    asked = site.ranges("/a.bin")
    assert len(asked) == 4 and asked[0] == ""
    assert not resumes or asked[3] == "bytes=983040-"
    assert left_over(cache) == ["a.bin"]


def test_a_later_call_goes_on_where_the_last_one_gave_up(site: Site, cache: Path, monkeypatch) -> None:
    site.files["/a.bin"] = Served(DATA, cut=3 * 2**16, cuts=1)
    monkeypatch.setattr(download, "RETRIES", -1)
    with pytest.raises(InputError, match=r"broke after 0\.2 MB .* go on with: suite adapters pull"):
        fetch(site)
    assert left_over(cache) == [".a.bin.part", ".a.bin.part.json"]
    assert fetch(site) == DATA
    assert site.ranges("/a.bin") == ["", "bytes=196608-"]
    assert left_over(cache) == ["a.bin"]


def test_without_a_validator_nothing_is_joined(site: Site) -> None:
    site.files["/a.bin"] = Served(DATA, cut=5 * 2**16, cuts=1, etag="")
    assert fetch(site, sha256="") == DATA
    assert site.ranges("/a.bin") == ["", ""]


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, monkeypatch) -> None:
    site.files["/a.bin"] = Served(b"x" * len(DATA), cut=3 * 2**16, cuts=1)
    monkeypatch.setattr(download, "RETRIES", -1)
    with pytest.raises(InputError):
        fetch(site)
    site.files["/a.bin"] = Served(DATA, etag='"2"')
    assert fetch(site) == DATA


def test_pieces_of_two_versions_are_fetched_anew(site: Site, monkeypatch) -> None:
    site.files["/a.bin"] = Served(b"x" * len(DATA), cut=3 * 2**16, cuts=1, etag="")
    monkeypatch.setattr(download, "RETRIES", -1)
    with pytest.raises(InputError):
        fetch(site)
    site.files["/a.bin"] = Served(DATA, etag="")
    assert fetch(site) == DATA
    assert site.ranges("/a.bin") == ["", "bytes=196608-", ""]


def test_a_wrong_hash_leaves_nothing(site: Site, cache: Path) -> None:
    site.files["/a.bin"] = Served(DATA)
    with pytest.raises(InputError, match=f"has sha256 {SHA256}, not the expected {'0' * 64}"):
        fetch(site, sha256="0" * 64)
    assert left_over(cache) == []


def test_a_damaged_cache_is_renewed(site: Site, cache: Path) -> None:
    site.files["/a.bin"] = Served(DATA)
    fetch(site)
    (path,) = cache.rglob("a.bin")
    path.write_bytes(DATA[:-1] + b"!")
    assert fetch(site) == DATA


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (Served(b"", status=404), "answers 404 .*check the address"),
        (Served(b"", status=403), "answers 403 .*not public"),
        (Served(b"", status=503), "cannot be reached .*503"),
        (Served(b"", status=302, location="ftp://127.0.0.1/a"), "cannot be fetched"),
        (Served(b"", status=302, location="/a.bin"), "cannot be fetched.*redirects"),
    ],
)
def test_refusals_are_one_line(site: Site, cache: Path, served: Served, message: str) -> None:
    site.files["/a.bin"] = served
    with pytest.raises(InputError, match=message) as caught:
        fetch(site)
    assert "\n" not in str(caught.value)
    assert left_over(cache) == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("sha256", ["", SHA256])
@pytest.mark.parametrize("length", ["-5", "many", "9" * 18, "9" * 40])
def test_a_length_that_no_file_has_is_refused(site: Site, cache: Path, length: str, sha256: str) -> None:
    site.files["/a.bin"] = Served(DATA, headers={"Content-Length": length})
    with pytest.raises(InputError, match=f"a.bin.* '{length}'.*ask whoever runs it") as caught:
        fetch(site, sha256=sha256)
    assert "\n" not in str(caught.value)
    assert left_over(cache) == []


@pytest.mark.parametrize("answer", ["bytes 7-9/10", "bytes */10", "nonsense", ""])
def test_another_range_than_was_asked_for_is_no_part_of_the_file(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    site.files["/a.bin"] = Served(DATA, cut=3 * 2**16, cuts=1)
    monkeypatch.setattr(download, "RETRIES", -1)
    with pytest.raises(InputError):
        fetch(site)
    monkeypatch.setattr(download, "RETRIES", 2)
    site.files["/a.bin"] = Served(DATA, headers={"Content-Range": answer})
    with pytest.raises(InputError, match=r"a\.bin.*a part of the file") as caught:
        fetch(site, sha256="")
    assert "\n" not in str(caught.value)
    assert left_over(cache) == []
    site.files["/a.bin"] = Served(DATA)
    assert fetch(site) == DATA


def test_a_busy_server_is_asked_again(site: Site) -> None:
    site.files["/a.bin"] = Served(DATA, status=503, failures=2)
    assert fetch(site) == DATA


def test_redirects_are_followed(site: Site) -> None:
    site.files["/moved/a.bin"] = Served(b"", status=302, location="/a.bin")
    site.files["/a.bin"] = Served(DATA)
    assert fetch(site, "moved/a.bin") == DATA


@pytest.mark.parametrize("variable", ["", "1"])
def test_offline_is_one_sentence_with_the_command(cache: Path, monkeypatch, variable: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", variable)
    reference = f"http://127.0.0.1:9/a.zip#sha256={SHA256}"
    with pytest.raises(InputError) as caught:
        hub.resolve(reference)
    message = str(caught.value)
    assert message.endswith(f"when online run: suite adapters pull {reference}")
    assert "127.0.0.1:9 cannot be reached" in message and "\n" not in message
    assert left_over(cache) == []


def test_a_server_that_falls_silent_is_given_up(site: Site, monkeypatch) -> None:
    monkeypatch.setattr(download, "RETRIES", -1)
    site.files["/a.bin"] = Served(DATA, pause=1.0)
    with pytest.raises(InputError, match=r"the connection to .* broke"):
        fetch(site)


def test_a_file_that_cannot_fit_is_refused_before_it_is_fetched(site: Site, cache: Path, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    site.files["/a.bin"] = Served(DATA)
    with pytest.raises(InputError, match=r"no room for .*1\.0 MB and 0\.0 MB are free.*SUITE_CACHE"):
        fetch(site)
    assert left_over(cache) == []


def limited(code: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that may write no file of more than 400,000 bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    environment = {**os.environ, "SUITE_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, env=environment, capture_output=True, text=True, check=False
    )


def test_a_full_disk_leaves_nothing_and_says_what_to_do(site: Site, cache: Path) -> None:
    site.files["/a.bin"] = Served(DATA)
    code = f"from suite import hub; hub.resolve('{site.address}/a.bin')"
    finished = limited(code, cache)
    assert "suite.errors.InputError: no room for" in finished.stderr.splitlines()[-1]
    assert "SUITE_CACHE" in finished.stderr.splitlines()[-1]
    assert left_over(cache) == []


def test_a_zipped_adapter_is_unpacked(site: Site, tmp_path: Path, write_adapter) -> None:
    folder = write_adapter(tmp_path / "mine")
    site.files["/mine.zip"] = Served(hub.export(str(folder), tmp_path / "mine.zip").read_bytes())
    found = hub.resolve(f"{site.address}/mine.zip")
    assert (found / "adapter_model.safetensors").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()


def test_a_zip_that_leaves_its_folder_is_refused(site: Site, cache: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("good.txt", "good")
        packed.writestr("../../evil.txt", "evil")
    site.files["/evil.zip"] = Served(buffer.getvalue())
    with pytest.raises(InputError, match="outside its folder"):
        hub.resolve(f"{site.address}/evil.zip")
    assert left_over(cache) == ["evil.zip"]
    assert not list(cache.parent.rglob("evil.txt"))
