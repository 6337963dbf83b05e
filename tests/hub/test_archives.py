from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from suite.errors import InputError
from suite.hub import archives


def zipped(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member, data in members:
            packed.writestr(member, data)
    return path


def tarred(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for member, data in members:
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd"
    return member


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def refused(archive: Path, cache: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        archives.unpacked(archive)
    assert "\n" not in str(caught.value)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert not list(archive.parent.parent.rglob("evil*"))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\..\\evil", "C:evil"])
def test_no_member_leaves_the_folder(tmp_path: Path, cache: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    refused(zipped(tmp_path / "in" / "a.zip", [("good", b"1"), (name, b"2")]), cache, "outside its folder")
    refused(tarred(tmp_path / "in" / "a.tar.gz", [(tarfile.TarInfo(name), b"2")]), cache, "outside its folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, cache: Path, kind: bytes) -> None:
    (tmp_path / "in").mkdir()
    refused(tarred(tmp_path / "in" / "a.tgz", [(special("evil", kind), b"")]), cache, "a link or device")
    refused(zipped(tmp_path / "in" / "a.zip", [(link("evil"), b"/etc/passwd")]), cache, "a link or device")


def test_bombs_are_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_HARMLESS_BYTES", 2**20)
    zeros = bytes(4 * 2**20)
    (tmp_path / "in").mkdir()
    refused(zipped(tmp_path / "in" / "a.zip", [("evil", zeros)]), cache, "as a bomb")
    refused(tarred(tmp_path / "in" / "a.tgz", [(tarfile.TarInfo("evil"), zeros)]), cache, "as a bomb")
    monkeypatch.setattr(archives, "_MOST_FILES", 3)
    refused(zipped(tmp_path / "in" / "b.zip", [(f"evil{i}", b"") for i in range(4)]), cache, "more than 3 files")


def test_names_that_clash_are_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "in").mkdir()
    refused(zipped(tmp_path / "in" / "a.zip", [("evil", b"1"), ("EVIL", b"2")]), cache, "twice")
    refused(zipped(tmp_path / "in" / "b.zip", [("evil", b"1"), ("evil/inside", b"2")]), cache, "damaged")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_damaged_archives_are_refused(tmp_path: Path, cache: Path, suffix: str) -> None:
    (tmp_path / "in").mkdir()
    noise = bytes(i * i % 251 for i in range(20_000))
    if suffix == ".zip":
        whole = zipped(tmp_path / "in" / "whole.zip", [("evil", noise)])
    else:
        whole = tarred(tmp_path / "in" / "whole.tar.gz", [(tarfile.TarInfo("evil"), noise)])
    data = whole.read_bytes()
    for name, damaged in {"cut": data[: len(data) // 2], "empty": b"", "text": b"<html>"}.items():
        archive = tmp_path / "in" / f"{name}{suffix}"
        archive.write_bytes(damaged)
        refused(archive, cache, "damaged")
    if suffix == ".zip":
        archive.write_bytes(data[:200] + bytes(50) + data[250:])
        refused(archive, cache, "damaged")


def test_one_folder_in_an_archive_stands_for_it(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("mine/", b""), ("mine/a.txt", b"a"), ("mine/b/c.txt", b"c")])
    folder = archives.unpacked(archive)
    assert (folder / "a.txt").read_bytes() == b"a" and (folder / "b" / "c.txt").read_bytes() == b"c"
    assert archives.unpacked(archive) == folder


def test_packing_is_reproducible_and_round_trips(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a.txt").write_text("a")
    (source / ".hidden").write_text("not packed")
    for name in ("one.zip", "two.zip"):
        archives.pack(source, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    (tmp_path / "out").mkdir()
    archives.extract(tmp_path / "one.zip", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.txt"]


def test_torch_files_are_no_archives(tmp_path: Path) -> None:
    file = zipped(tmp_path / "model.pth", [("a", b"a")])
    assert archives.unpacked(file) == file
