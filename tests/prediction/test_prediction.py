"""What stands around every predictor: inputs, the loop, the folder of results, the journal, the base of an adapter."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suite.errors import InputError
from suite.files import write_text
from suite.prediction import inputs
from suite.prediction.folder import SHEET, ResultFolder, Sheet, Table, whole_record
from suite.prediction.journal import FILE, Journal
from suite.prediction.loading import stated_base
from suite.prediction.loop import batches, each, only, reason


@dataclass(frozen=True)
class Made:
    source: str
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"size": len(self.source)}

    def save(self, folder: str | Path) -> list[Path]:
        return [write_text(Path(folder) / f"{self.source}.txt", self.source)]


@pytest.mark.parametrize("below", ["file", "file/out", "file/far/out"])
def test_a_folder_below_a_file_is_refused_before_anything_is_predicted(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; give a folder for the results"):
        ResultFolder(tmp_path / below)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that even root cannot write to is known")
def test_a_folder_that_cannot_be_written_ends_the_prediction_in_one_line() -> None:
    folder = ResultFolder("/proc/results").summarise(Table("all", whole_record))
    results = folder.keep([Made("wrong", "no such file"), Made("a"), Made("b")])
    assert next(results).error == "no such file"
    with pytest.raises(InputError, match=r"/proc/results: cannot be written .*; give another folder"):
        next(results)


def test_a_string_is_text_where_no_file_is_called_so(tmp_path):
    (tmp_path / "my file.txt").write_text("x")
    assert inputs.is_text("Ann met Bob.") and inputs.is_text("long " * 9000) and inputs.is_text("one\n")
    assert not inputs.is_text(str(tmp_path / "my file.txt"))
    assert not any(map(inputs.is_text, ("-", "file.txt", " ", Path("a b"))))
    names = [inputs.source_name(one) for one in ("-", "Ann met Bob.", Path("a b"), "file.txt")]
    assert names == ["stdin", "text", "a b", "file.txt"]


def test_cameras_and_addresses_of_streams_are_live_and_paths_are_not() -> None:
    assert all(map(inputs.is_live, ("webcam", "webcam:1", "rtsp://host/a", "https://host/a.m3u8", "udp://127.0.0.1:9")))
    assert not any(map(inputs.is_live, ("webcams", "a.mp4", "c:/a.mp4", "./udp:/x", Path("webcam"))))


def test_folders_are_their_files_and_everything_else_stays(tmp_path):
    for name in ("b.TXT", "a.txt", "c.png", ".hidden.txt", "sub/d.txt", ".git/e.txt"):
        write_text(tmp_path / "in" / name, "x")
    (tmp_path / "empty").mkdir()
    given = ["-", "some text", tmp_path / "absent", str(tmp_path / "in"), tmp_path / "empty"]
    found = list(inputs.expanded(given, (".txt",)))
    files = [tmp_path / "in" / name for name in ("a.txt", "b.TXT", "sub/d.txt")]
    assert found == [*given[:3], *files, tmp_path / "empty"]
    with pytest.raises(InputError, match=r"no file that ends in \.txt"):
        inputs.files_in(tmp_path / "empty", (".txt",))


def test_one_input_is_one_of_several():
    assert inputs.several("a") == ["a"] and inputs.several(7, int) == [7] and inputs.several(["a", 7]) == ["a", 7]


def test_nothing_on_standard_input_is_said(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    assert inputs.read_stdin() == b"text"
    with pytest.raises(InputError, match="nothing came on standard input"):
        inputs.read_stdin()


def test_names_are_unique_in_any_case_and_never_a_path():
    names = inputs.Names()
    assert [names.of(name) for name in ("a", "A", "a", "b")] == ["a", "A-2", "a-3", "b"]
    assert inputs.slug("../a photo, of…") == "a_photo_of" and inputs.slug("..") == "unnamed"
    assert len(inputs.slug("x" * 99)) == 60


def test_one_bad_input_is_one_result_and_a_bug_is_a_traceback():
    def make(word: str) -> Made:
        if word == "bad":
            raise InputError("bad: it is bad; write good")
        return Made(word[:4]) if word else Made(1 / 0)  # type: ignore[arg-type]

    def failed(word: str, error: str) -> Made:
        return Made(word, reason(error, word))

    results = list(each(["good", "bad", "fine"], make, failed))
    assert [result.error for result in results] == [None, "it is bad; write good", None]
    with pytest.raises(ZeroDivisionError):
        list(each([""], make, failed))


def test_one_input_alone_raises_its_error():
    assert only(iter([Made("a")])).source == "a"
    with pytest.raises(InputError, match=r"^a: it is bad$"):
        only([Made("a", "it is bad")])


def test_batches_take_no_more_than_they_need():
    taken = []
    stream = batches((taken.append(n) or n for n in range(5)), 2)
    assert next(stream) == [0, 1] and taken == [0, 1]
    assert list(stream) == [[2, 3], [4]]


def test_the_folder_holds_each_result_and_what_is_said_of_all(tmp_path):
    def draw(cards: Any, path: Path) -> None:
        write_text(path, " ".join(cards))

    folder = ResultFolder(tmp_path).summarise(
        Table("predictions", whole_record, jsonl=True),
        Sheet(lambda result: None if result.error else result.source, draw, most=2),
    )
    results = [Made("=a"), Made("b", "bad"), Made("c"), Made("d")]
    for kept in folder.keep(results):
        # What was written of a result is there when it is seen.
        assert folder.files == ([] if kept.error else [tmp_path / f"{kept.source}.txt"])
    assert {file.name for file in tmp_path.iterdir()} == {
        *("=a.txt", "c.txt", "d.txt", "predictions.csv", "predictions.jsonl", SHEET)
    }
    assert (tmp_path / "predictions.csv").read_text().splitlines()[:3] == ["source,error,size", "'=a,,2", "b,bad,1"]
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["=a", "b", "c", "d"]
    assert (tmp_path / SHEET).read_text() == "=a c"
    assert folder.next_steps() == [f"open {tmp_path / SHEET}"]


@dataclass(frozen=True)
class Shown(Made):
    ends: tuple[str, ...] = ()

    def save(self, folder: str | Path) -> list[Path]:
        return [write_text(Path(folder) / f"{self.source}{end}", "") for end in self.ends]


@pytest.mark.parametrize(
    ("ends", "looked_at"),
    [((".json", ".png", ".html"), "b.html"), ((".png", ".mp4"), "b.mp4"), ((".csv", ".png"), "b.png"), ((".csv",), "")],
)
def test_where_nothing_is_said_of_all_the_first_result_is_looked_at(tmp_path, ends, looked_at):
    folder = ResultFolder(tmp_path)
    list(folder.keep([Made("a", "bad"), Shown("b", ends=ends), Shown("c", ends=ends)]))
    assert folder.next_steps() == ([f"open {tmp_path / looked_at}"] if looked_at else [])


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = ResultFolder.of(None).summarise(Table("predictions", whole_record))
    assert len(list(folder.keep([Made("a")]))) == 1
    assert not list(tmp_path.iterdir()) and not folder.next_steps()
    assert ResultFolder.of(folder) is folder


def test_a_journal_knows_what_is_finished_under_the_same_settings(tmp_path):
    with Journal(tmp_path, {"adapter": "tiny"}, resume=False) as journal:
        journal.add("a", "text", {"found": [1]})
    with (tmp_path / FILE).open("a") as file:
        file.write('{"key": "cut o')  # the run was killed while it wrote
    with Journal(tmp_path, {"adapter": "tiny"}, resume=True) as journal:
        assert journal.find("a", "text")["found"] == [1]
        assert journal.find("a", "changed") is None and journal.find("b", "text") is None
        journal.add("b", "text", {"found": []})
    with Journal(tmp_path, {"adapter": "tiny"}, resume=True) as journal:
        assert journal.find("a", "text") and journal.find("b", "text")
    with Journal(tmp_path, {"adapter": "other"}, resume=True) as journal:
        assert journal.find("a", "text") is None
    with Journal(tmp_path, {"adapter": "tiny"}, resume=False) as journal:
        assert journal.find("a", "text") is None


def test_a_plain_folders_hub_id_is_spelled_our_way():
    assert stated_base("org/name", Path("x"), "fake") == "hf:org/name"
    for own in ("fake/tiny", "tiny", "hf:org/name@v1", "./a/b", "/a/b"):
        assert stated_base(own, Path("x"), "fake") == own
    with pytest.raises(InputError, match="does not name its base"):
        stated_base(None, Path("x"), "fake")
