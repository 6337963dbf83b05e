"""Commits: what is read of them, defects and messages, the presets of two papers, Telly's frozen layers."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import PLBartForConditionalGeneration, RobertaModel

from domains.code_review import ChangeData, DefectPredictor, DefectRecipe, MessagePredictor, MessageRecipe
from domains.code_review.data.change_datamodule import encode, statistics
from domains.code_review.data.change_sources import commits
from domains.code_review.data.commits import FEATURES, Commit, grouped
from domains.code_review.data.readers.mails import commits_of
from domains.code_review.evaluation import message_scores
from domains.code_review.model.attachments import PRESETS
from domains.code_review.model.change_bases import load_describer, load_encoder
from suite import training
from suite.cli.main import main
from suite.errors import InputError
from suite.hub import paths
from tests.code_review import changes, small, small_changes

LAYER, EMBEDDINGS, POOLER = 7_087_872, 40_284_672, 590_592
"""Of UniXcoder."""

JIT = {"added_code": ["  if a :", "", "   b  =  1"], "removed_code": ["b = 2"], "message": "Mend b", "label": 1}


def words(kind: str = "roberta"):
    return (load_describer if kind in ("t5", "plbart") else load_encoder)(str(small_changes.home() / kind))[1]


def decoded(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)


def only(path) -> Commit:
    [commit] = commits(str(path))
    return commit


def test_a_commit_is_read_as_the_published_code_reads_it(tmp_path):
    commit = only(small.records(tmp_path / "test.jsonl", [JIT]))
    tokenizer = words()
    pair = encode(tokenizer, commit, "defects", 512)
    # White space is one blank, blank lines are none, and the mark parts lines of its own kind.
    assert decoded(tokenizer, pair.source) == "<s>Mend b[ADD]if a :[ADD]b = 1[DEL]b = 2</s>"
    assert (pair.label, pair.truncated) == (1, False)
    long = Commit("x", "word " * 200, grouped(["line"] * 300, []), layout="grouped", defective=False)
    cut = encode(tokenizer, long, "defects", 128, 64)
    assert (len(cut.source), cut.source[0], cut.source[-1]) == (128, 0, 1) and cut.truncated
    assert cut.source.index(tokenizer.convert_tokens_to_ids("[ADD]")) == 65, "64 tokens of the message"


def test_commits_of_the_three_data_sets_are_told_apart_by_their_keys(tmp_path):
    tokenizer = words("t5")

    def read(record: dict) -> tuple[str, str]:
        pair = encode(tokenizer, only(small.records(tmp_path / "test.jsonl", [record])), "message", 512)
        return decoded(tokenizer, pair.source), decoded(tokenizer, pair.target)

    mcmd = {"diff": ["-", "a", "<nl>", "+", "b"], "msg_token": ["Use", "b\n", "now"]}
    assert read(mcmd) == ("- a <nl> + b</s>", "Use b now</s>")
    fira = {"diff": "@@ -1,2 +1,2 @@\n x = 1\n-a\n\n+  b </s> c", "nl": "Use b"}
    assert read(fira) == ("<keep>x = 1<del>a<add>b  c</s>", "Use b</s>")
    assert read(JIT) == ("<add>if a :<add>b = 1<del>b = 2</s>", "Mend b</s>")
    assert read(JIT | {"added_code": []})[0] == "<add><del>b = 2</s>", "both marks are always there"


def test_jit_fine_is_read_from_its_own_files(tmp_path):
    lists = [["c1", "c2"], [1, 0], ["Mend b", "Add c"], [{k: JIT[k] for k in ("added_code", "removed_code")}] * 2]
    (tmp_path / "changes_test.pkl").write_bytes(pickle.dumps(lists))
    plain = list(commits(str(tmp_path)))
    assert [(one.id, one.defective, one.message, one.features) for one in plain] == [
        ("c1", True, "Mend b", ()),
        ("c2", False, "Add c", ()),
    ]
    with (tmp_path / "features_test.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["commit_hash", *FEATURES])
        table.writerow(["c1", *range(13), "True"])
        table.writerow(["c2", *range(13), "False"])
    both = list(commits(str(tmp_path)))
    assert [one.features[-2:] for one in both] == [(12.0, 1.0), (12.0, 0.0)]


class Harm:
    def __reduce__(self):
        return (print, ("harm",))


def test_a_pickle_that_names_anything_is_refused(tmp_path, capsys):
    (tmp_path / "changes_test.pkl").write_bytes(pickle.dumps([[Harm()], [1], [""], [{}]]))
    with pytest.raises(InputError, match=r"changes_test\.pkl: the pickle names builtins\.print"):
        list(commits(str(tmp_path)))
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"patch": "x"}, r"test\.jsonl:1: no commit of MCMD \(msg_token\), FIRA \(nl\) or JIT-Fine"),
        (JIT | {"label": 2}, r"test\.jsonl:1: 'label' is 2, neither 0 nor 1"),
        (JIT | {"la": 1}, r"test\.jsonl:1: of the 14 features 'ld' is missing"),
        (JIT | dict.fromkeys(FEATURES, 1) | {"age": "old"}, r"test\.jsonl:1: 'age' is 'old', not a number"),
        (JIT | {"added_code": "x"}, r"test\.jsonl:1: 'added_code' is no list of strings"),
        ({"msg_token": ["x"]}, r"test\.jsonl:1: the key 'diff' is missing"),
    ],
)
def test_a_broken_line_is_named(tmp_path, record, said):
    with pytest.raises(InputError, match=said):
        only(small.records(tmp_path / "test.jsonl", [record]))
    assert list(commits(str(tmp_path / "test.jsonl"), skip_bad=1)) == []


def test_mails_and_diffs_are_commits(tmp_path):
    folder = changes.repository(tmp_path / "tree", {"a.py": b"a = 1\n"})
    changes.write(folder, {"a.py": b"a = 2\n"})
    message = "Raise a\n\nIt was too low."
    changes.git(folder, "commit", "-qam", message)
    raw = subprocess.run(["git", "format-patch", "--stdout", "-1"], cwd=folder, capture_output=True, check=True).stdout
    [commit] = commits_of(raw, "x")
    assert (commit.message, commit.rows) == (message, (("-", "a = 1"), ("+", "a = 2")))
    assert len(commit.id) == 40
    [bare] = commits_of(raw[raw.index(b"diff --git") :], "x")
    assert (bare.id, bare.message, bare.rows) == ("x", "", commit.rows)
    [one, two] = commits_of(raw + raw, "x")
    assert one == two == commit


def features(number: int) -> dict:
    return {name: number * (place + 1) for place, name in enumerate(FEATURES[:-1])} | {"fix": bool(number % 2)}


def labelled(folder, count: int = 8, shift: int = 0):
    """Commits that bring in a defect where they speak of money."""
    rows = []
    for number in range(count):
        word = ("money", "grass")[number % 2]
        rows.append(JIT | {"added_code": [f"a = {word}"], "message": f"Add {word}", "label": 1 - number % 2})
        rows[-1] |= features(number + shift) | {"id": f"c{number}"}
    return small.records(folder / "commits.jsonl", rows)


def test_features_are_scaled_by_the_training_commits_or_by_every_split(tmp_path):
    (tmp_path / "val").mkdir()
    train, val = labelled(tmp_path), labelled(tmp_path / "val", shift=100)

    def encoded(how: str):
        data = ChangeData(str(train), str(val), standardise=how)
        data.bind(lambda: (words(), "defects", True))
        data.setup()
        return data, *(torch.stack([one["features"] for one in data.encoded[split]]) for split in ("train", "val"))

    data, own, other = encoded("train")
    assert own.mean(0).abs().max() < 1e-6 and torch.allclose(own.std(0, correction=0), torch.ones(14))
    assert other[:, :13].mean() > 10, "another split keeps its distance"
    assert len(data.mean) == 14
    _, leaking, leaked = encoded("split")
    assert torch.equal(leaking, own) and leaked.mean(0).abs().max() < 1e-6
    assert statistics([(1.0,), (1.0,)]) == ((1.0,), (1.0,)), "a feature that never changes"


TELLY = {
    0: 85_054_464,
    1: 77_966_592,
    2: 70_878_720,
    3: 63_790_848,
    4: 56_702_976,
    5: 49_615_104,
    6: 42_527_232,
    7: 35_439_360,
    8: 28_351_488,
    9: 21_263_616,
    10: 14_175_744,
    11: 7_087_872,
}
SAVED = (32.46, 38.08, 43.71, 49.34, 54.97, 60.60, 66.23, 71.86, 77.49, 83.12, 88.74, 94.37)


def counted(name: str, capsys, *more: str) -> dict:
    file = paths.assets() / f"configs/code_review/{name}.yaml"
    assert main(["code_review", "count", "--config", str(file), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("frozen", TELLY)
def test_tellys_published_counts_on_the_meta_device(frozen, capsys):
    """Acceptance 2. The pooler is frozen from Telly-0 on; the head, of 769, is beside."""
    found = counted(f"telly_k{frozen}", capsys)
    assert found["trainable"] == TELLY[frozen] + 769 == (12 - frozen) * LAYER + 769
    assert found["total"] == EMBEDDINGS + 12 * LAYER + POOLER + 769 == 125_929_728 + 769
    told, _, saved = found["costs"]["encoder"].partition(" of 125,929,728 train, ")
    assert told == f"{TELLY[frozen]:,}"
    # The published share is of millions with two places, and off in the last for it.
    assert float(saved.split(" ")[0]) == pytest.approx(SAVED[frozen], abs=0.0101)


def test_telly_freezes_embeddings_pooler_and_the_lowest_layers():
    for frozen in (0, 2):
        recipe = DefectRecipe(str(small_changes.home() / "roberta"), adapter={"preset": f"telly-k{frozen}"})
        model = recipe.build()
        trained = {name.split(".suite")[0] for name, value in model.named_parameters() if value.requires_grad}
        kinds = {name.removeprefix("encoder.encoder.layer.")[0] for name in trained if ".layer." in name}
        assert kinds == {str(number) for number in range(frozen, 3)}
        assert not any("pooler" in name or "embeddings" in name for name in trained)
        assert any("classifier" in name for name in trained)


COUNTS = {
    "jit_dp_lora": 12 * 2 * 64 * (768 + 768) + 769,
    "jit_dp_concat": 12 * 2 * 64 * (768 + 768) + 14 * 768 + 768 + 2 * 768 + 1,
    "jit_dp_adapter": 24 * (2 * 768 * 128 + 128 + 768) + 25 * 768 + 769,
    "jit_dp_full": 109_607_040 + 769,
    "cmg_lora": 72 * 8 * (768 + 768),
    "cmg_lora_plbart": 36 * 8 * (768 + 768),
    "cmg_adapter": 48 * (2 * 768 * 128 + 128 + 768) + 62 * 768,
}


@pytest.mark.parametrize(("name", "trainable"), COUNTS.items())
def test_the_presets_of_code_changes_are_counted_on_the_meta_device(name, trainable, capsys):
    assert counted(name, capsys)["trainable"] == trainable


def test_the_lowest_layers_of_telly_have_no_gradient_and_keep_less():
    """Acceptance 11: no gradient buffer below, and the step keeps fewer tensors for its backward than a full one."""
    ids = torch.arange(3, 67).view(2, 32)
    mask, defective = torch.ones_like(ids), torch.tensor([0.0, 1.0])
    kept: dict[str, int] = {}
    for preset in ("full", "telly-k2"):
        recipe = DefectRecipe(str(small_changes.home() / "roberta"), adapter={"preset": preset})
        model = recipe.build().train()
        own = {value.untyped_storage().data_ptr() for value in model.parameters()}
        sizes: dict[int, int] = {}
        alive = []

        def note(tensor, own=own, sizes=sizes, alive=alive):
            storage = tensor.untyped_storage()
            alive.append(tensor)  # freed memory would be given out, and counted, again
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(ids, mask), defective)
        loss.backward()
        held = sum(value.grad.nbytes for value in model.parameters() if value.grad is not None)
        kept[preset] = sum(sizes.values()) + held
        if preset != "full":
            below = [value for name, value in model.named_parameters() if "layer.0." in name or "layer.1." in name]
            still = [value for name, value in model.named_parameters() if "embeddings" in name or "pooler" in name]
            assert below and all(value.grad is None and not value.requires_grad for value in [*below, *still])
            assert any(value.grad is not None for name, value in model.named_parameters() if "layer.2." in name)
    assert kept["telly-k2"] < 0.5 * kept["full"]


def run(task: str, base: str, folder, *more: str):
    name = "jit_dp_lora" if task == "defects" else "cmg_lora"
    file = labelled(folder)
    overrides = [
        *("--base", str(small_changes.home() / base), "--data.train", str(file), "--data.val", f"{file}[:4]"),
        *("--data.batch_size", "4", "--data.max_length", "96", "--trainer.accumulate_grad_batches", "1"),
        *("--trainer.max_steps", "6", "--trainer.val_every", "1.0", "--trainer.lr", "0.02", *more),
    ]
    config = training.load_config(paths.assets() / f"configs/code_review/{name}.yaml", overrides)
    return training.run(config, run_dir=folder / "run"), config


RUNS = {
    "defects with features, adapters": (
        "defects",
        "t5",
        "--recipe.head",
        "concat",
        "--recipe.adapter",
        "{preset: jit-dp-adapter}",
    ),
    "defects, telly": ("defects", "roberta", "--recipe.adapter", "{preset: telly-k1}"),
    "message": ("message", "t5", "--recipe.adapter", "{preset: cmg-lora, r: 4}"),
}


@pytest.fixture(scope="module", params=RUNS)
def trained(request, tmp_path_factory):
    """A short run of every method."""
    task, base, *more = RUNS[request.param]
    folder = tmp_path_factory.mktemp("run")
    return task, base, folder, *run(task, base, folder, *more)


def test_an_adapter_is_trained_saved_and_predicts_what_it_did(trained, capsys):
    task, base, folder, run, config = trained
    given = ["--adapter", str(run.adapter), "--base", str(small_changes.home() / base), "--json"]
    again = training.evaluate(config, run.adapter)
    assert again["val/loss"] == pytest.approx(run.metrics["val/loss"], abs=1e-5)
    if "telly" in str(config.recipe["adapter"]):  # what is frozen is no part of what is saved
        saved = {name for file in run.adapter.rglob("*.safetensors") for name in load_file(file)}
        kinds = {name.partition(".layer.")[2].partition(".")[0] for name in saved} - {""}
        assert kinds == {"1", "2"} and not any("embeddings" in name or "pooler" in name for name in saved)
    if task == "message":
        assert training.evaluate(config, None)["val/loss"] > again["val/loss"]
    data = str(folder / "commits.jsonl")
    capsys.readouterr()
    assert main(["code_review", "predict", data, *given, "--max-new-tokens", "8", "--out", str(folder / "out")]) == 0
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert [one["commit"] for one in result["commits"]] == [f"c{number}" for number in range(8)]
    if task == "defects":
        assert all(0 <= one["chance"] <= 1 for one in result["commits"])
    assert json.loads((folder / "out/commits.commits.json").read_text())["commits"] == result["commits"]
    scored = ["code_review", "evaluate", data, "--task", task, *given, "--max-new-tokens", "8"]
    assert main(scored) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n"] == 8
    assert {"f1", "auroc"} <= figures.keys() or {
        "rouge_l (COCO)",
        "cider (COCO)",
        "bleu_smooth_sentence",
    } <= figures.keys()


def test_the_last_commit_of_a_work_tree_is_asked_about(tmp_path, capsys):
    folder = changes.repository(tmp_path / "tree", {"a.py": b"a = 1\n"})
    changes.write(folder, {"a.py": b"a = 2\n"})
    changes.git(folder, "commit", "-qam", "Raise a")
    for task, base in (("defects", "roberta"), ("message", "plbart")):
        given = ["--adapter", str(small_changes.adapter(task)), "--base", str(small_changes.home() / base), "--json"]
        for more in ([], ["--range", "HEAD~1..HEAD"]):
            assert main(["code_review", "predict", str(folder), *given, "--max-new-tokens", "4", *more]) == 0
            [result] = json.loads(capsys.readouterr().out)["results"]
            assert [one["subject"] for one in result["commits"]] == ["Raise a"]
    assert main(["code_review", "predict", str(folder), *given, "--range", "HEAD"]) == 2
    assert "'HEAD' is no range of commits" in capsys.readouterr().err


def test_commits_in_a_batch_are_told_as_one_by_one(tmp_path):
    adapter, base = small_changes.adapter("defects"), str(small_changes.home() / "roberta")
    predictor = DefectPredictor.from_pretrained(str(adapter), base)
    cases = [*commits(str(labelled(tmp_path))), Commit("long", "Add", grouped(["x = 1"] * 9, []))]
    alone = [predictor.chances([one])[0] for one in cases]
    assert predictor.chances(cases, 4) == pytest.approx(alone, abs=1e-6)


def test_changes_are_laid_out_as_the_adapter_learnt_them_or_refused(tmp_path, capsys):
    file = small.records(tmp_path / "mcmd.jsonl", [{"diff": ["-", "a"], "msg_token": ["Drop", "a"]}])
    given = ["--adapter", str(small_changes.adapter("message")), "--base", str(small_changes.home() / "plbart")]
    assert main(["code_review", "predict", str(file), *given]) == 2
    assert "trained on changes written as lines, and this one is written as tokens" in capsys.readouterr().err
    writer = MessagePredictor.from_pretrained(given[1], given[3])
    writer.manifest = replace(writer.manifest, layout="grouped")
    diff = Commit("x", rows=(("-", "a  b"), ("+", "c"), (" ", "d")))
    assert writer.laid_out(diff).rows == (("+", "c"), ("-", "a b"))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (lambda: DefectRecipe(adapter={"preset": "telly-k12"}), "unknown 'telly-k12'"),
        (lambda: DefectRecipe(head="double"), "recipe.head is 'double'; choose single or concat"),
        (lambda: DefectRecipe(str(small.home() / "base")).backbone, "which reads from left to right"),
        (
            lambda: MessageRecipe(str(small_changes.home() / "roberta")).backbone,
            "written by an encoder-decoder such as",
        ),
        (lambda: ChangeData(standardise="no"), "data.standardise is 'no'; choose train or split"),
        (
            lambda: DefectRecipe(str(small_changes.home() / "roberta"), adapter={"preset": "telly-k7"}).build(),
            "frozen=7 must be 0 to 2: the model has 3 blocks",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(recipe, said):
    with pytest.raises(InputError, match=said):
        recipe()


def test_data_that_do_not_say_what_is_to_be_learnt_are_refused(tmp_path):
    def encoded(record: dict, task: str, reads_features: bool = False) -> None:
        data = ChangeData(str(small.records(tmp_path / "x.jsonl", [record])), None)
        data.bind(lambda: (words(), task, reads_features))
        data.setup()

    bare = {name: value for name, value in JIT.items() if name != "label"}
    with pytest.raises(InputError, match="has no 'label'"):
        encoded(bare, "defects")
    with pytest.raises(InputError, match="none of the 14 features"):
        encoded(JIT, "defects", True)
    with pytest.raises(InputError, match="has no message to learn"):
        encoded(JIT | {"message": " "}, "message")


def test_an_adapter_of_commits_reviews_nothing(capsys, tmp_path):
    (tmp_path / "a.diff").write_text("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+b\n")
    given = ["--adapter", str(small_changes.adapter("defects")), "--base", str(small_changes.home() / "roberta")]
    assert main(["code_review", "predict", str(tmp_path / "a.diff"), *given, "--format", "sarif"]) == 2
    assert "is for defects of commits: it reviews nothing" in capsys.readouterr().err
    assert main(["code_review", "evaluate", "world:test:2", "--task", "message", *given]) == 2
    assert "this adapter is for defects, not for message" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["defects", "message"])
def test_a_strict_base_of_commits_is_the_one_that_was_trained_on(capsys, tmp_path, task):
    kind, name = (RobertaModel, "roberta") if task == "defects" else (PLBartForConditionalGeneration, "plbart")
    other = tmp_path / "other"
    shutil.copytree(small_changes.home() / name, other)
    model = kind.from_pretrained(other)
    for value in model.parameters():
        value.data.mul_(1.25)
    model.save_pretrained(other)
    (tmp_path / "a.diff").write_text("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+b\n")
    words = ["code_review", "predict", str(tmp_path / "a.diff"), "--adapter", str(small_changes.adapter(task))]
    words += ["--max-new-tokens", "2", "--strict-base", "--base"]
    assert main([*words, str(small_changes.home() / name)]) == 0
    assert main([*words, str(other)]) == 2
    assert "other weights of the same shapes, and the check is strict" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        ("--since", "HEAD~1"),
        ("--paths", "src"),
        ("--max-comments", "3"),
        ("--lenient",),
        ("--no-suggest",),
        ("--temperature", "1"),
        ("--fail-on", "any"),
        ("--format", "rdjson"),
        ("--comment", "tiny"),
    ],
)
def test_what_an_adapter_of_commits_cannot_do_is_not_passed_over(capsys, option):
    given = ["--adapter", str(small_changes.adapter("defects")), "--base", str(small_changes.home() / "roberta")]
    assert main(["code_review", "predict", ".", *given, *option]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "is for defects of commits: it reviews nothing, and takes no " + " ".join(option[:1]) in line


def test_commits_are_printed_as_json_where_that_is_asked_for(capsys, tmp_path):
    (tmp_path / "a.diff").write_text("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+b\n")
    given = ["--adapter", str(small_changes.adapter("defects")), "--base", str(small_changes.home() / "roberta")]
    assert main(["code_review", "predict", str(tmp_path / "a.diff"), *given, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["commits"][0]["commit"] == "a"
    out = str(tmp_path / "out")
    assert main(["code_review", "predict", str(tmp_path / "a.diff"), *given, "--format", "json", "--out", out]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["commits"] and f"results  {out}" in said.err


def test_inputs_that_hold_no_commits_are_told_what_to_do(capsys, tmp_path, monkeypatch):
    given = ["--adapter", str(small_changes.adapter("defects")), "--base", str(small_changes.home() / "roberta")]
    tree = changes.repository(tmp_path / "tree", {"a.py": b"a = 1\n"})
    bare = tmp_path / "bare"
    bare.mkdir()
    changes.git(bare, "init", "-q")
    (tmp_path / "empty").mkdir()
    page = "https://github.com/o/r/pull/7"
    for words, said in (
        ([str(tmp_path / "absent")], "absent: no such file or folder; check the path"),
        (
            [str(tmp_path / "empty")],
            "holds no file that ends in .diff, .patch, .jsonl, .pkl, and is in no git work tree",
        ),
        ([str(bare)], "bare: has no commit yet"),
        ([str(tree), "--range", "HEAD..nix"], "git knows no HEAD..nix; give --range e.g. main..HEAD"),
        ([page], f"{page}: commits are read from mails, diffs and work trees alone; save its .patch and give that"),
        (["o/r#7"], "o/r#7: commits are read from mails, diffs and work trees alone"),
    ):
        assert main(["code_review", "predict", *words, *given]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line and "fatal" not in line
    assert main(["code_review", "evaluate", "world:test:2", "--task", "defects"]) == 2
    assert "tells no task of its own, and is not for defects" in capsys.readouterr().err


def test_the_presets_are_the_published_ones():
    assert PRESETS["jit-dp-lora"] == {"method": "lora", "r": 64, "lora_alpha": 32, "lora_dropout": 0.1}
    assert PRESETS["cmg-lora"] == {"method": "lora", "r": 8, "lora_alpha": 32, "lora_dropout": 0.1}
    assert PRESETS["cmg-adapter"]["bottleneck_size"] == 128
    assert sum(name.startswith("telly-k") for name in PRESETS) == 12


def test_figures_of_messages():
    """By hand: P = 3/4, R = 3/5; F of ROUGE-L with recall weighing 1.44; two chunks of three equal words."""
    found, wanted = ["add", "a", "test", "now"], ["add", "a", "small", "test", "here"]
    assert message_scores.rouge_l(found, wanted) == pytest.approx(2.44 * 0.75 * 0.6 / (0.6 + 1.44 * 0.75))
    mean = 10 * 0.75 * 0.6 / (0.6 + 9 * 0.75)
    assert message_scores.meteor(found, wanted) == pytest.approx(mean * (1 - 0.5 * (2 / 3) ** 3))
    assert message_scores.rouge_l([], wanted) == message_scores.meteor(found, []) == 0
    same = ["fix the parser bug", "add a test", "drop old code path"]
    figures = message_scores.report(same, same)
    assert figures["rouge_l (COCO)"] == pytest.approx(100) and figures["exact match"] == 1
    words = [one.split() for one in same]
    # A message of three words has no four-gram, and so loses a quarter.
    assert message_scores.cider(words, words) == pytest.approx([10, 7.5, 10])
    assert message_scores.cider(words, words[::-1])[0] == 0


def test_the_made_world_has_commits():
    made = list(commits("world:train:6"))
    assert {one.defective for one in made} == {True, False}
    assert all(one.message.split()[0] in ("Add", "Change") and one.rows for one in made)


@pytest.mark.parametrize(("base", "layers"), [("roberta", 3), ("t5", 2), ("plbart", 2)])
def test_the_presets_know_three_families_of_bases(base, layers):
    place = str(small_changes.home() / base)
    model = DefectRecipe(place, adapter={"preset": "jit-dp-lora", "r": 2}).build()
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert sum("lora_A" in name for name in trained) == 2 * layers
    assert any("classifier" in name for name in trained)
    model = DefectRecipe(place, adapter={"preset": "jit-dp-adapter"}).build()
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert sum("series_adapter_down." in name for name in trained) == 2 * layers
    norms = [name for name in trained if "norm" in name.lower() and name.endswith("weight")]
    assert len(norms) >= 2 * layers


def test_a_base_of_another_family_needs_its_targets_named():
    given = {"class": "transformers:BertModel", "config": {"num_hidden_layers": 1}}
    recipe = DefectRecipe(architecture=given, adapter={"preset": "jit-dp-lora"})
    said = "knows the targets of roberta, t5, plbart, and the base is a bert"
    with torch.device("meta"), pytest.raises(InputError, match=said):
        recipe.build()
