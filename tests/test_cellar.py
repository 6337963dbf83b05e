"""Devices, tables and scores."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch

from suite.devices import choose_device, choose_dtype
from suite.errors import InputError
from suite.files import read_json
from suite.scores import Scores
from suite.tables import aligned, csv_text, records_csv


def test_devices_and_types_from_words():
    assert choose_device("cpu") == "cpu"
    assert choose_dtype("auto", "cpu") == torch.float32 and choose_dtype("auto", "cuda:1") == torch.bfloat16
    assert choose_dtype("auto", "cuda", auto=torch.float32) == torch.float32
    assert choose_dtype("nf4", "cuda", quantized=["nf4"]) == torch.bfloat16
    for wrong in ("gpu7", "cuda:x" if torch.cuda.is_available() else "cuda"):
        with pytest.raises(InputError, match="device"):
            choose_device(wrong)
    with pytest.raises(InputError, match="'nf4' is unknown; choose auto, float32, bfloat16 or float16"):
        choose_dtype("nf4", "cpu")


def test_csv_reads_back_as_it_was_written():
    rows = [["name", "value"], ["=1+1", -2.5], ["a,b\nc", None], ["list", [1, 2]]]
    read = list(csv.reader(io.StringIO(csv_text(rows, line_end="\r\n"), newline="")))
    assert read == [["name", "value"], ["=1+1", "-2.5"], ["a,b\nc", ""], ["list", "[1, 2]"]]
    # Only text is guarded: a negative number is no formula.
    assert "'=1+1,-2.5" in csv_text(rows, guard=True)


def test_records_of_several_kinds_share_a_table():
    assert records_csv([{"a": 1}, {"b": "x", "a": 2}]) == "a,b\n1,\n2,x\n"
    assert records_csv([{"a": 1, "b": 2}], columns=["b"]) == "b\n2\n"


def test_numbers_stand_to_the_right():
    assert aligned([["name", "F1"], ["x", "0.5000"]]) == "name      F1\nx     0.5000"


def test_scores_are_one_folder_of_files(tmp_path):
    scores = Scores(
        {"f1": 0.5, "counts": {"tp": 1}, "documents": 1200},
        {"data": "dev.json", "adapter": None},
        title="An evaluation",
        tables={"per_relation": [{"relation": "=mc2", "f1": 0.5}]},
        files={"submission.json": "[]\n"},
        notices=("a notice",),
    )
    files = {file.name for file in scores.save(tmp_path)}
    assert files == {"metrics.json", "per_relation.csv", "submission.json", "report.html"}
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record == scores.to_dict() and record["data"] == "dev.json" and record["counts"] == {"tp": 1}
    assert str(scores) == "f1  0.5000\ndocuments  1,200\nnote: a notice"
    page = (tmp_path / "report.html").read_text()
    assert "a notice" in page and "Per relation" in page
    # Words for people, nothing of Python's, and every column that any record has.
    assert "<dt>data</dt>" in page and "{&#x27;" not in page
    several = Scores({"mean_f1": 0.5}, title="t", tables={"runs": [{"a": 1}, {"a": 2, "best_step": 3}]})
    several.save(tmp_path / "several")
    page = (tmp_path / "several" / "report.html").read_text()
    assert "<dt>mean f1</dt>" in page and ">best step</th>" in page
    answer = scores.answer(tmp_path)
    assert answer["f1"] == 0.5 and len(answer["files"]) == 4 and answer["message"].startswith("f1  0.5000")


def test_scores_in_a_form_of_the_domains_own(tmp_path):
    record = {"metrics": {"f1": 0.5}, "notices": []}
    scores = Scores({"F1": 0.5}, title="t", shown={"by_class": [{"class": "mug"}]}, record=record)
    assert [file.name for file in scores.save(tmp_path)] == ["metrics.json", "report.html"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == record
    page = (tmp_path / "report.html").read_text()
    assert "By class" in page and "mug" in page and "<dt>F1</dt>" in page
    assert scores.answer() == {"message": "F1  0.5000", **record}


def test_a_json_object_is_read_or_refused_in_one_line(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert read_json(file) == {"a": 1}
    for content, complaint in (
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object, not list"),
        ("\x00", "not valid"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=rf"a\.json: .*{complaint}.*; restore it$") as raised:
            read_json(file, "restore it")
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="No such file"):
        read_json(tmp_path / "absent.json")
