"""Adapters of the study are trained, saved, loaded and merged; what is left out of training is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from domains.unit_tests import TestWriter, UnitTestData, UnitTestRecipe, WriterQuery
from domains.unit_tests.model import study
from suite import adapters, training
from suite.errors import InputError
from suite.generation.chat import IGNORED
from suite.training.settings import TrainerConfig
from tests.unit_tests.small import tokenizer, write_base


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: write_base(folder / family, family, biases=0.5) for family in study.TARGETS}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {
            "id": str(n),
            "source": f"def f(x):\n    return {n}\n\n\ndef test_f(",
            "target": f"):\n    assert f(1) == {n}\n",
        }
        for n in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trained(base: Path, pairs: Path, folder: Path, method: str) -> training.Run:
    recipe = UnitTestRecipe(str(base), adapter={"preset": method})
    data = UnitTestData(str(pairs), None, batch_size=3)
    config = TrainerConfig(max_steps=3, max_epochs=-1, lr=0.1, accelerator="cpu")
    return training.fit(recipe, data, config, folder=folder)


CASES = [
    *(("llama", method) for method in study.METHODS),
    *(("starcoder2", method) for method in ("lora", "ia3")),
    *(("codegen", method) for method in ("lora", "ia3")),
    *(("qwen2", "ia3"), ("gpt_bigcode", "ia3")),
]


@pytest.mark.parametrize(("family", "method"), CASES)
def test_an_adapter_is_trained_saved_loaded_and_merged_with_the_same_logits(bases, pairs, tmp_path, family, method):
    """Acceptance 7: nobody names modules, and the biases of projections are scaled, too."""
    run = trained(bases[family], pairs, tmp_path / "run", method)
    ids = torch.tensor([tokenizer()("def f(x):\n    return 1\n")["input_ids"]])
    writer = TestWriter.from_pretrained(str(run.adapter), base=str(bases[family]))
    assert writer.manifest.append_end
    other = TestWriter.from_pretrained(str(run.adapter), base=str(bases[family]))
    with torch.inference_mode():
        adapted = writer.model(ids).logits
        assert torch.equal(adapted, other.model(ids).logits)
        with adapters.disabled(writer.model):
            frozen = writer.model(ids).logits
        assert (adapted[:, -ids.shape[1] :] - frozen).abs().max() > 1e-3, "it learnt nothing"
        if method == "prompt_tuning":
            with pytest.raises(InputError):
                adapters.merge(writer.model)
            return
        adapters.merge(writer.model)
        torch.testing.assert_close(writer.model(ids).logits, adapted, rtol=1e-4, atol=1e-4)


LAYERS = {
    ("starcoder2", "lora"): ({"q_proj", "v_proj"}, None),
    ("starcoder2", "ia3"): ({"q_proj", "v_proj", "c_proj"}, {"c_proj"}),
    ("codegen", "ia3"): ({"qkv_proj", "fc_out"}, {"fc_out"}),
    ("gpt_bigcode", "ia3"): ({"attn.c_attn", "mlp.c_proj"}, {"mlp.c_proj"}),
    ("qwen2", "ia3"): ({"q_proj", "v_proj", "down_proj"}, {"down_proj"}),
}


@pytest.mark.parametrize(("family", "method"), LAYERS)
def test_an_adapter_that_does_not_say_its_layers_has_those_of_its_tensors(bases, tmp_path, family, method):
    """As the study stored its adapters: the library's defaults are of its time, and some families have none."""
    model = UnitTestRecipe(str(bases[family]), adapter={"preset": method}).build().eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "ia3_l" in name:
                parameter.normal_()
    adapters.save(model, tmp_path / "adapter")
    (tmp_path / "adapter" / "suite.json").unlink(missing_ok=True)
    file = tmp_path / "adapter" / "adapter_config.json"
    said = json.loads(file.read_text())
    silent = dict.fromkeys(set(said) & {"target_modules", "feedforward_modules"})
    file.write_text(json.dumps({**said, **silent}))
    ids = torch.tensor([tokenizer()("def f(x):\n    return 1\n")["input_ids"]])
    loaded = TestWriter.from_pretrained(str(tmp_path / "adapter"), base=str(bases[family])).model
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    adapters.save(loaded, tmp_path / "again")
    config = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
    named, inputs = LAYERS[family, method]
    assert set(config["target_modules"]) == named and set(config.get("feedforward_modules") or ()) == (inputs or set())


def test_the_loss_is_on_the_test_alone_and_pairs_that_are_too_long_are_counted(bases, pairs, tmp_path, capsys):
    """Acceptance 8: none on the source, none on virtual tokens; the end token is an option."""
    long = {"source": "x = 1\n" * 100, "target": "y\n"}
    path = tmp_path / "pairs.jsonl"
    path.write_text(pairs.read_text() + json.dumps(long) + "\n")
    data = UnitTestData(str(path), None, block_size=64, batch_size=6)
    for end in (True, False):
        data.encoded.clear()
        data.bind(tokenizer, end, False, 20)
        data.setup()
        assert data.dropped == {"train": 1} and len(data.encoded["train"]) == 6
        one = data.encoded["train"][0]
        source = tokenizer()("def f(x):\n    return 0\n\n\ndef test_f(")["input_ids"]
        assert one["labels"][: len(source)].eq(IGNORED).all() and not one["labels"][len(source) :].eq(IGNORED).any()
        assert (int(one["labels"][-1]) == tokenizer().eos_token_id) is end
        assert (
            tokenizer().decode(one["labels"][len(source) :], skip_special_tokens=True) == "):\n    assert f(1) == 0\n"
        )
    assert "train: 1 of 7 pairs have more than 44 tokens and are left out" in capsys.readouterr().err
    torch.manual_seed(0)
    recipe = UnitTestRecipe(str(bases["llama"]), adapter={"preset": "prompt_tuning"})
    recipe.configure_model()
    batch = next(iter(data.train_dataloader()))
    outputs = recipe.compute(batch)
    logits = recipe.model(input_ids=batch["input_ids"]).logits[:, -batch["labels"].shape[1] :]
    wanted = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    torch.testing.assert_close(outputs.loss, wanted)


def test_what_trains_is_the_base_and_never_its_architecture_block(bases):
    """The block is for counting: a model made of it has random weights."""
    given = {"class": "transformers:LlamaForCausalLM", "config": {"hidden_size": 16, "num_hidden_layers": 1}}
    built = UnitTestRecipe(str(bases["llama"]), architecture=given, adapter={"preset": "lora"}).build()
    assert built.config._name_or_path == str(bases["llama"])


def test_data_without_a_pair_that_fits_are_refused(pairs):
    data = UnitTestData(str(pairs), None, block_size=4)
    data.bind(tokenizer, True, False, 0)
    with pytest.raises(InputError, match=r"gives no pair of at most 4 tokens"):
        data.setup()
    recipe = {"preset": "prefix"}
    with pytest.raises(InputError, match=r"unknown 'prefix'.*lora, ia3, prompt_tuning"):
        UnitTestRecipe(adapter=recipe)


def test_the_samples_of_a_source_are_computed_from_one_cache_and_do_not_depend_on_each_other(bases, pairs, tmp_path):
    """And those of prompt tuning, whose virtual tokens stand before every source."""
    run = trained(bases["llama"], pairs, tmp_path / "run", "prompt_tuning")
    writer = TestWriter.from_pretrained(str(run.adapter), base=str(bases["llama"]))
    engines = []
    build = writer.engine
    writer.engine = lambda query: engines.append(build(query)) or engines[-1]
    sources = ["def f(x):\n    return 1\n\n\ndef test_f(", "def g(x):\n    return 2\n\n\ndef test_g("]
    query = WriterQuery(samples=4, max_new_tokens=12)
    found = writer.answers(sources, query, [lambda text: False] * 2)
    assert [len(answers) for answers in found] == [4, 4] and len({one.text for answers in found for one in answers}) > 2
    counters = engines[0].counters
    assert counters.prefilled_tokens < counters.prompt_tokens / 2
    [alone] = writer.answers(sources[1:], query, [lambda text: False])
    assert [one.text for one in alone] == [one.text for one in found[1]]
    [short] = writer.answers(sources[1:], query, [lambda text: len(text) > 3])
    assert all(one.complete and len(one.text) < len(long.text) for one, long in zip(short, alone, strict=True))


def test_a_model_that_plain_code_surprises_is_told_and_another_base_is_refused(bases, pairs, tmp_path, capsys):
    run = trained(bases["llama"], pairs, tmp_path / "run", "lora")
    file = tmp_path / "mod.py"
    file.write_text("def f(x):\n    return x\n")
    writer = TestWriter.from_pretrained("none", base=str(bases["llama"]))
    assert 0.8 < writer.surprise() < 1.3
    [written] = writer.predict(file, no_run=True, samples=1, max_new_tokens=4)
    assert "plain code surprises this model at" in capsys.readouterr().err and written.error is None
    with pytest.raises(InputError, match=r"was trained on LlamaForCausalLM .*, this base is .*qwen2"):
        list(TestWriter.from_pretrained(str(run.adapter), base=str(bases["qwen2"])).predict(file, no_run=True))
    with pytest.raises(InputError, match=r"adapter none: name the model with --base"):
        TestWriter.from_pretrained("none")
