"""Two variants of every malformed input that the domain names: one line that says what and where, and exit code 2."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from suite.cli.main import main
from tests.generation.small_model import llama, tokenizer
from tests.relation_extraction.reading import DOCRED, lines, write
from tests.relation_extraction.small_bundle import save_bundle

PUBTATOR = "7|t|Ethanol.\n7|a|It burns.\n7\t{start}\t{end}\t{name}\tChemMet\tA:1\n"
CDR = "7\tAspirin causes ulcers .\t1:CID:2\tL2R\tNON-CROSS\t0-1\t2-3" + "\tD1\tAspirin\tChemical\t0\t1\t0" * 2


def spoilt(*path, value):
    record = copy.deepcopy(DOCRED)
    place = record
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return [record]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a base and the three adapters on it."""
    folder = tmp_path_factory.mktemp("home")
    llama(seed=3).save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    save_bundle(folder / "bundle", folder / "base")
    return folder


def said(capsys, *argv):
    """The line that the command leaves on standard error."""
    code = main(["relation_extraction", *map(str, argv)])
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


def predicting(home, source, bundle=None, base=None):
    adapter = home / "bundle" if bundle is None else bundle
    return ("predict", source, "--adapter", adapter, "--base", base or home / "base", "--device", "cpu")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", "the document is empty"),
        ("blank.txt", "\ufeff \n", "the document is empty"),
        ("numbers.txt", "12 + 3 = 15.", "the document has no letters"),
        ("numbers.jsonl", lines({"text": "1 2"}), "line 1: the document has no letters"),
        ("cut.jsonl", lines('{"text": "Two."'), "cut.jsonl: line 1: not JSON"),
        ("word.jsonl", lines("", "Two."), "word.jsonl: line 2: not JSON"),
        ("key.jsonl", lines({"txt": "Two."}), "line 1: no `text`"),
        ("id.jsonl", lines({"id": "x"}), "line 1: no `text`"),
    ],
)
def test_a_malformed_document(home, tmp_path, capsys, name, content, message):
    error = said(capsys, *predicting(home, write(tmp_path, name, content)))
    assert message in error
    assert name in error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "sentence.json",
            spoilt("vertexSet", 0, 0, "sent_id", value=2),
            '"Lyon": entity 0 mention 0: `sent_id` 2 is out',
        ),
        ("below.json", spoilt("vertexSet", 2, 0, "sent_id", value=-1), "entity 2 mention 0: `sent_id` -1 is out"),
        ("span.json", spoilt("vertexSet", 1, 0, "pos", value=[3, 6]), '"Lyon": entity 1 mention 0: `pos` [3, 6)'),
        ("turned.json", spoilt("vertexSet", 1, 0, "pos", value=[4, 3]), '"Lyon": entity 1 mention 0: `pos` [4, 3)'),
        ("head.json", spoilt("labels", 0, "h", value=3), "label 0: `h` 3 is outside"),
        ("tail.json", spoilt("labels", 1, "t", value=-1), "label 1: `t` -1 is outside"),
        ("shifted.pubtator", PUBTATOR.format(start=1, end=8, name="Ethanol"), "line 3: the text at [1, 8)"),
        ("renamed.pubtator", PUBTATOR.format(start=0, end=7, name="ethanol"), "line 3: the text at [0, 7)"),
        ("fewer.data", CDR.rpartition("\t")[0], "line 1: 16 columns after the text, not a multiple of 17"),
        ("more.data", f"{CDR}\t0", "line 1: 18 columns after the text, not a multiple of 17"),
    ],
)
def test_malformed_labels(tmp_path, capsys, name, content, message):
    """Where labels count; a prediction reads the text without them."""
    schema = ("--schema", "cdr") if name.endswith(".data") else ()
    error = said(capsys, "evaluate", "--data", write(tmp_path, name, content), "--oracle", *schema)
    assert message in error
    assert name in error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("twice.json", [DOCRED, DOCRED], 'duplicate title "Lyon"'),
        ("ids.jsonl", lines(*[{"id": "a", "text": "Ann.", "triples": []}] * 2), 'duplicate title "a"'),
        ("bare.json", spoilt("labels", value=...), "`labels` is missing"),
        ("bare.jsonl", lines({"text": "Ann met Bob."}), "line 1: no `triples`"),
        ("large.json", spoilt("labels", 0, "r", value="P99999"), 'unknown property id "P99999"'),
        ("letter.json", spoilt("labels", 0, "r", value="Q17"), 'unknown relation "Q17"'),
    ],
)
def test_gold_that_cannot_be_scored(tmp_path, capsys, name, content, message):
    error = said(capsys, "evaluate", "--data", write(tmp_path, name, content), "--oracle")
    assert message in error
    assert name in error


@pytest.mark.parametrize(
    ("relations", "name"),
    [(["spouse", "spouse"], "spouse"), ([{"name": "a", "pid": "P1"}, {"name": "b", "aliases": ["P1"]}], "P1")],
)
def test_a_schema_that_names_two_things_alike(home, tmp_path, capsys, relations, name):
    schema = write(tmp_path, "schema.json", {"relations": relations})
    text = write(tmp_path, "good.txt", "Ann met Bob.")
    assert f'duplicate name "{name}"' in said(capsys, *predicting(home, text), "--schema", schema)


def configured(bundle, step, **values):
    file = bundle / step / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda bundle: configured(bundle, "relation", r=8), "says r=8, but"),
        (lambda bundle: configured(bundle, "fact", r=2), "says r=2, but"),
        (lambda bundle: shutil.rmtree(bundle / "subject"), "lacks the adapter of step `subject`"),
        (lambda bundle: shutil.rmtree(bundle / "fact"), "lacks the adapter of step `fact`"),
        (
            lambda bundle: configured(bundle, "relation", base_model_name_or_path="mistralai/Mistral-7B"),
            "was trained on mistralai/Mistral-7B, but the loaded base is a llama",
        ),
    ],
)
def test_adapters_that_are_not_whole(home, tmp_path, capsys, spoil, message):
    bundle = shutil.copytree(home / "bundle", tmp_path / "bundle")
    spoil(bundle)
    text = write(tmp_path, "good.txt", "Ann met Bob.")
    assert message in said(capsys, *predicting(home, text, bundle))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("domain", [1]),
        ("domain", 3),
        ("domain", {"protocol": 3}),
        ("domain", {"protocol": "suite-v1/D_R_H_F_desc", "template": ["suite"]}),
        ("domain", {"protocol": "suite-v1/D_R_H_F_desc", "template": "suite", "schema": 3}),
        ("domain", {"protocol": "suite-v1/D_R_H_F_desc", "template": "suite", "protocol_templates": [1]}),
        ("base", [1]),
        ("base", "tiny"),
        ("base", {"reference": 3}),
    ],
)
def test_a_manifest_with_something_else_where_an_object_stands(home, tmp_path, capsys, section, value):
    bundle = shutil.copytree(home / "bundle", tmp_path / "bundle")
    manifest = json.loads((bundle / "suite.json").read_text())
    (bundle / "suite.json").write_text(json.dumps(manifest | {section: value}))
    text = write(tmp_path, "good.txt", "Ann met Bob.")
    assert "suite.json" in said(capsys, *predicting(home, text, bundle))


def test_adapters_of_another_base(home, tmp_path, capsys):
    llama(seed=9).save_pretrained(tmp_path / "other")
    tokenizer().save_pretrained(tmp_path / "other")
    capsys.readouterr()
    text = write(tmp_path, "good.txt", "Ann met Bob.")
    assert "trained on" in said(capsys, *predicting(home, text, base=tmp_path / "other"), "--strict-base")
