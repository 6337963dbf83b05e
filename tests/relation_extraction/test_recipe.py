from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from domains.relation_extraction.data.datamodule import CallSamples as EncodedSamples
from domains.relation_extraction.data.datamodule import RelationExtractionData
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.model.bases import load_base
from domains.relation_extraction.model.bundle import find_bundle, load_bundle
from domains.relation_extraction.model.calls import STEPS
from domains.relation_extraction.recipe import RelationExtractionRecipe
from suite import adapters
from suite.errors import InputError
from suite.generation.chat import IGNORED
from suite.generation.samples import collate
from suite.training import TrainerConfig, load_config, run
from tests.generation.small_model import llama, tokenizer

LORA = {"method": "lora", "r": 4, "lora_alpha": 16, "targets": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    llama(spread=0.2).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def annotations(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("data") / "own.jsonl"
    with file.open("w") as lines:
        for number in range(8):
            ann, bob = f"Ann{number}", f"Bob{number}"
            triples = [
                {"head": ann, "relation": "spouse", "tail": bob},
                {"head": bob, "relation": "spouse", "tail": ann},
            ]
            triples.append({"head": ann, "relation": "residence", "tail": "Rome"})
            text = f"{ann} married {bob} in May. " + "They live in Rome. " * (number + 1)
            lines.write(json.dumps({"id": f"d{number}", "text": text, "triples": triples}) + "\n")
    return file


def recipe(base, **options) -> RelationExtractionRecipe:
    return RelationExtractionRecipe(str(base), **{"adapter": LORA, **options})


def batch_of(made: RelationExtractionRecipe, source, count=4):
    data = RelationExtractionData(train=str(source), val=None)
    encoded = EncodedSamples.of(data.samples("train", made.wording), made.wording, cutoff=512)
    return collate([encoded[index] for index in range(count)])


def experiment(folder, base, annotations, layout, **trainer):
    config = {
        "domain": "relation_extraction",
        "base": str(base),
        "recipe": {
            "layout": layout,
            "adapter": LORA,
            "stages": {"fact": {"max_epochs": 1}} if layout == "three" else {},
        },
        "data": {"train": str(annotations), "val": f"{annotations}[:2]", "batch_size": 4},
        "trainer": {"max_epochs": 2, "lr": 0.01, **trainer},
    }
    file = folder / "experiment.yaml"
    file.write_text(json.dumps(config))
    return load_config(file)


def test_loss_is_that_of_the_answers(base, annotations):
    made = recipe(base, layout="single")
    made.configure_model()
    batch = batch_of(made, annotations)
    outputs = made.compute(batch)
    logits = made.model(batch["input_ids"]).logits
    target = batch["labels"][:, 1:]
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), target.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(outputs.loss, expected)
    assert int(outputs.weight) == int((target != IGNORED).sum())
    assert outputs.logits is None or outputs.logits.shape[1] < batch["labels"].shape[1]


def test_padding_changes_no_loss(base, annotations):
    made = recipe(base, layout="single")
    made.configure_model()
    made.model.eval()
    batch = batch_of(made, annotations)
    together = made.compute(batch)
    alone = [
        made.compute({key: row[None] for key, row in zip(batch, rows, strict=True)})
        for rows in zip(*batch.values(), strict=True)
    ]
    mean = sum(one.loss * one.weight for one in alone) / sum(one.weight for one in alone)
    torch.testing.assert_close(together.loss, mean)


def test_only_the_adapter_learns(base, annotations):
    made = recipe(base, layout="single")
    made.configure_model()
    made.compute(batch_of(made, annotations)).loss.backward()
    learning = {name for name, parameter in made.model.named_parameters() if parameter.grad is not None}
    assert learning
    assert all("lora_" in name and "joint" in name for name in learning)


def test_nf4_base_trains(base, annotations):
    made = recipe(base, layout="single", quantize="nf4")
    made.configure_model()
    outputs = made.compute(batch_of(made, annotations))
    outputs.loss.backward()
    assert torch.isfinite(outputs.loss)
    assert any(parameter.grad is not None for name, parameter in made.model.named_parameters() if "lora_B" in name)


def test_three_adapters_are_trained_in_turn_on_one_base(base, annotations, tmp_path):
    result = run(experiment(tmp_path, base, annotations, "three"), run_dir=tmp_path / "run")
    assert {f"{step}/val/loss" for step in STEPS} <= result.metrics.keys()
    bundle = find_bundle(result.adapter)
    assert (bundle.layout, bundle.settings["protocol"]) == ("three", "suite-v1/D_R_H_F_desc")
    model, _ = load_base(str(base))
    model = load_bundle(model, bundle)
    assert adapters.attached(model) == list(STEPS)
    ids = torch.arange(20).unsqueeze(0)
    logits = []
    for step in STEPS:
        adapters.activate(model, step)
        logits.append(model(ids).logits)
    with adapters.disabled(model):
        logits.append(model(ids).logits)
    assert all(not torch.equal(a, b) for i, a in enumerate(logits) for b in logits[:i])
    torch.testing.assert_close(logits[-1], load_base(str(base))[0](ids).logits)


def test_each_step_is_what_training_alone_would_give(base, annotations, tmp_path):
    """Sharing the base must not let one step's training touch another's adapter."""
    whole = run(experiment(tmp_path, base, annotations, "three"), run_dir=tmp_path / "run")
    made = recipe(base)
    data = RelationExtractionData(train=str(annotations), val=None, batch_size=4)
    last = made.driver(data).stages[-1]
    from suite.training import fit
    from suite.training.randomness import derive

    config = TrainerConfig(max_epochs=1, lr=0.01, seed=derive(42, "stage", "fact"))
    alone = fit(last.recipe, last.data, config, folder=tmp_path / "alone")
    from safetensors.torch import load_file

    first = load_file(whole.adapter / "fact" / "adapter_model.safetensors")
    second = load_file(alone.adapter / "adapter_model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_local_base_is_not_recorded(base, annotations, tmp_path):
    result = run(experiment(tmp_path, base, annotations, "single", max_steps=1), run_dir=tmp_path / "run")
    manifest = json.loads((result.adapter / "suite.json").read_text())
    assert manifest["base"]["reference"] is None
    assert str(base) not in (result.adapter / "adapter_config.json").read_text()


def test_wrong_settings_are_one_line(base):
    with pytest.raises(InputError, match="heads is no step"):
        recipe(base, stages={"heads": {}})
    with pytest.raises(InputError, match="unknown protocol"):
        recipe(base, protocol="suite-v1/D_X")
    with torch.device("meta"), pytest.raises(InputError, match="no `class`"):
        RelationExtractionRecipe(architecture={"config": {}}).build()
    with torch.device("meta"), pytest.raises(InputError, match="cannot be built"):
        RelationExtractionRecipe(architecture={"class": "transformers:NoSuchModel"}).build()


def test_what_trains_is_the_base_and_never_its_architecture_block(base):
    """The block is for counting: a model made of it has random weights."""
    given = {"class": "transformers:LlamaForCausalLM", "config": {"hidden_size": 16, "num_hidden_layers": 1}}
    built = recipe(base, architecture=given).build()
    assert built.config._name_or_path == str(base)


def test_sources(annotations):
    from domains.relation_extraction.model.schema import Schema

    schema = Schema.load("redocred")
    ids = [document.id for document in labelled_documents(f"{annotations}[2:5]", schema)]
    assert ids == ["d2", "d3", "d4"]
    assert [document.id for document in labelled_documents(f"{annotations}[6:]", schema)] == ["d6", "d7"]
    tiny = Schema.load("tiny")
    assert len(list(labelled_documents("tiny:val:3", tiny))) == 3
    for wrong in ("nowhere.json", "tiny:nothing", "tiny:train:many"):
        with pytest.raises(InputError, match="data "):
            list(labelled_documents(wrong, schema))
