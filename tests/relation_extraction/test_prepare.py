"""The verb `prepare`: files for trainers, LLaMA-Factory's description of them, memory, all or nothing."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from domains.relation_extraction.data.prepare import prepare
from suite.cli.main import main
from suite.errors import InputError
from tests.real_data import CHECKOUT, real_data

LINES = [
    {"id": "a", "text": "Ann-Lee lives in Oslo.", "triples": [{"head": "Ann-Lee", "relation": "P551", "tail": "Oslo"}]},
    {"id": "b", "text": "Nothing is said here.", "triples": []},
    {
        "id": "c",
        "text": "Bo was born in Rome.",
        "triples": [{"head": "Bo", "relation": "place of birth", "tail": "Rome"}],
    },
]


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "my notes.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_three_files_and_their_description(annotations, tmp_path):
    out = tmp_path / "out"
    result = prepare(str(annotations), out)
    assert result["documents"] == 2 and result["samples"] == {"relation": 2, "subject": 2, "fact": 2}
    assert result["message"].startswith("2 documents with labels -> 2 relation, 2 subject, 2 fact samples in")
    facts = read(out / "my_notes_fact_train.jsonl")
    assert facts[0] == {
        "id": "identity_0",
        "instruction": 'Document:\nAnn-Lee lives in Oslo.\nTask: triples "residence" from "Ann-Lee"\n',
        "input": "",
        "output": "['Ann-Lee', 'residence', 'Oslo']",
        "history": [],
    }
    assert [sample["id"] for sample in facts] == ["identity_0", "identity_1"]
    info = json.loads((out / "dataset_info.json").read_text(encoding="utf-8"))
    assert set(info) == {f"my_notes_{adapter}_train" for adapter in ("relation", "subject", "fact")}
    for entry in info.values():
        assert (out / entry["file_name"]).is_file()
        assert set(entry["columns"].values()) <= set(facts[0])
    assert all(Path(file).is_file() for file in result["files"]) and len(result["files"]) == 4


def test_official_protocols_get_their_texts_as_tokens_and_single_adapters_one_file(annotations, tmp_path):
    out = tmp_path / "out"
    prepare(str(annotations), out, protocol="autore-official/D_F", layout="single", split="eval", name="set")
    (first, _) = read(out / "set_joint_eval.jsonl")
    assert first["instruction"] == 'Given a passage: "Ann - Lee lives in Oslo ."\nList all underlying facts.'
    assert first["output"] == "['Ann - Lee', 'residence', 'Oslo']"


def test_what_stands_in_dataset_info_stays(annotations, tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "o.json"}}', encoding="utf-8")
    prepare(str(annotations), tmp_path, split="train")
    prepare(str(annotations), tmp_path, split="eval")
    info = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert len(info) == 7 and info["other"] == {"file_name": "o.json"}


def test_standard_input_is_a_source(monkeypatch, tmp_path):
    raw = "\n".join(map(json.dumps, LINES)).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    prepare("-", tmp_path)
    assert (tmp_path / "stdin_fact_train.jsonl").is_file()


def test_descriptions_of_a_file_reach_the_prompts(annotations, tmp_path):
    texts = tmp_path / "texts.json"
    texts.write_text('{"residence": "where one lives"}', encoding="utf-8")
    prepare(str(annotations), tmp_path, relation_descriptions=texts)
    heads = read(tmp_path / "my_notes_subject_train.jsonl")
    assert heads[0]["instruction"].endswith('heads of "residence" (where one lives)\n')


@pytest.mark.parametrize(
    ("line", "message"),
    [("{broken", "line 4: not JSON"), ('{"text": "Oslo is far."}', "line 4: no `triples`")],
)
def test_a_wrong_line_leaves_nothing_behind(annotations, tmp_path, line, message):
    annotations.write_text(annotations.read_text(encoding="utf-8") + "\n" + line, encoding="utf-8")
    out = tmp_path / "out"
    with pytest.raises(InputError, match=message):
        prepare(str(annotations), out)
    assert not out.exists() or not list(out.iterdir())


def test_no_labelled_fact_and_a_spoilt_dataset_info_are_refused(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text(json.dumps(LINES[1]), encoding="utf-8")
    with pytest.raises(InputError, match="no document has a labelled fact"):
        prepare(str(empty), tmp_path / "out")
    for content in ("{", "[]"):
        (tmp_path / "dataset_info.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"dataset_info\.json"):
            prepare(str(empty), tmp_path)


OUT_OF_RANGE = [
    {"title": "T", "sents": [["A", "b"]], "vertexSet": [[{"name": "A", "sent_id": 1, "pos": [0, 1]}]], "labels": []}
]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", json.dumps(OUT_OF_RANGE), 'document 1 "T": entity 0 mention 0: `sent_id` 1 is out of range'),
        ("a.jsonl", json.dumps(LINES[0]) + '\n{"text": "x"', "a.jsonl line 2: not JSON"),
        ("a.txt", "", "a.txt: the document is empty"),
    ],
)
def test_acceptance_13_12_wrong_data_is_one_line_and_exit_code_2(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    code = main(["relation_extraction", "prepare", str(tmp_path / name), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert code == 2 and message in error
    assert error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.slow
def test_a_training_set_of_3053_documents_stays_under_a_gigabyte(tmp_path):
    documents = json.loads(real_data("redocred/dev_revised.json").read_text(encoding="utf-8"))
    big = tmp_path / "train.json"
    copies = ({**documents[n % 500], "title": f"document {n}"} for n in range(3_053))
    big.write_text("[" + ",\n".join(map(json.dumps, copies)) + "]", encoding="utf-8")
    code = (
        "import re, sys\n"
        "from domains.relation_extraction.data.prepare import prepare\n"
        "from pathlib import Path\n"
        "result = prepare(sys.argv[1], Path(sys.argv[2]))\n"
        "status = Path('/proc/self/status').read_text()\n"
        # Not ru_maxrss: a child starts with its parent's.
        "print(result['documents'], re.search(r'VmHWM:\\s*(\\d+)', status)[1])\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, str(big), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    used, kilobytes = map(int, done.stdout.split())
    assert used == 3_047 and kilobytes < 1_000_000
