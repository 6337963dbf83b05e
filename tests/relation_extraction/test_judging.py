"""An adapter on gold documents, with a random model: the figures are nothing, the way there is what counts."""

from __future__ import annotations

import json

import pytest
import torch

from domains.relation_extraction.evaluation.compare import compare
from domains.relation_extraction.evaluation.evaluate import evaluate
from domains.relation_extraction.model.calls import STEPS
from domains.relation_extraction.model.schema import Relation, Schema
from suite import adapters
from tests.generation.small_model import llama, tokenizer
from tests.relation_extraction.reading import annotate, lines, write

SCHEMA = Schema("test", (Relation("spouse", pid="P26"), Relation("place of birth", pid="P19")))
TEXT = "Marie Curie was born in Warsaw, and married Pierre Curie."
SHORT = {"device": "cpu", "max_new_tokens": 24, "resamples": 10}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    llama(seed=3).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bundle(base, tmp_path_factory):
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("bundle")
    extra = {"protocol": "suite-v1/D_R_H_F", "template": "suite", "layout": "three", "pretokenize": "docred"}
    extra["schema"] = SCHEMA.to_dict()
    model = AutoModelForCausalLM.from_pretrained(base)
    for name in STEPS:
        torch.manual_seed(len(name))
        model = adapters.attach(model, "lora", r=4, targets=["q_proj"], name=name, init_lora_weights=False)
        adapters.save(model, folder / name, name=name, extra=extra)
    (folder / "suite.json").write_text((folder / "relation" / "suite.json").read_text())
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    records = [
        annotate(
            ("Marie Curie", "spouse", "Pierre Curie"), ("Marie Curie", "place of birth", "Warsaw"), text=TEXT, id="a"
        ),
        annotate(("Pierre Curie", "spouse", "Marie Curie"), text="Pierre Curie married Marie Curie.", id="b"),
    ]
    return str(write(tmp_path_factory.mktemp("data"), "own.jsonl", lines(*records)))


def test_an_adapter_gets_both_scores_and_its_cost(base, bundle, data, tmp_path):
    result = evaluate(data, adapter=bundle, base=base, out=tmp_path / "out", **SHORT)
    assert result["tp"] + result["miss"] == 3 and result["documents"] == 2
    assert result["protocol"] == "suite-v1/D_R_H_F" and result["mode"] == "lenient"
    assert result["calls"] == result["cost"]["calls"] > 2 and result["cost"]["prefilled_tokens"] > 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["docred"] == result["docred"]


@pytest.mark.parametrize(("component", "calls", "gold"), [("relation", 2, 3), ("subject", 3, 3), ("facts", 3, 3)])
def test_one_step_alone_asks_only_about_it(base, bundle, data, component, calls, gold):
    result = evaluate(data, adapter=bundle, base=base, component=component, **SHORT)
    assert result["calls"] == calls
    assert result["tp"] + result["miss"] == gold


def test_the_frozen_base_is_asked_without_its_adapters(base, bundle, data):
    result = evaluate(data, adapter=bundle, base=base, frozen=True, constrained=False, **SHORT)
    assert result["adapter"] is None and result["protocol"] == "suite-v1/D_R_H_F"
    assert result["tp"] == 0


def test_models_stand_beside_oracles_in_one_table(base, bundle, data, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA.to_dict()))
    runs = (f"ours=adapter:{bundle}", f"base=frozen:{bundle}", f"plain=zero-shot:{bundle}", "oracle:D_F")
    result = compare(data, runs, schema=str(schema), base=base, device="cpu", max_new_tokens=24)
    rows = {row["system"]: row for row in result["rows"]}
    assert rows["oracle:D_F"]["f1"] == 1.0
    assert rows["plain"]["calls"] == 2 and rows["ours"]["tokens"] > 0
    assert {row["sees"] for row in result["rows"]} == {"text", "gold answers"}
