"""The commands that belong to no domain: `methods`, `doctor`, `adapters`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.cli import doctor, methods
from tests.cli.conftest import Command
from tests.domains import fake_parts

ROOT = Path(__file__).parents[2]
FACTS = dataclasses.asdict(adapters.MethodInfo("", layers=()))


def test_methods_lists_and_shows(suite: Command) -> None:
    listed = suite("methods", "--json").json()["methods"]
    assert {"lora", "krona"} <= {method["name"] for method in listed}
    assert "krona" in suite("methods").out
    shown = suite("methods", "lora", "--json").json()
    assert shown["source"] == "peft"
    assert shown["options"]["r"] == 8
    assert "r = 8" in suite("methods", "lora").out
    page = suite("methods", "krona").out
    assert "a1 = 4\n      Rows of A; divides the output size." in page


def test_a_method_is_shown_with_its_equation_its_year_and_an_example(suite: Command) -> None:
    page = suite("methods", "loreft").out
    assert "    h + R^T (phi(W h + b) - R h)" in page
    assert "trainable          2 * hidden * r + r\nyear               2024" in page
    assert page.endswith(
        'example\n  adapter:\n    method: loreft\n    r: 8\n    positions: "f7+l7"\n    activation: "linear"\n'
    )
    line = next(line for line in suite("methods").out.splitlines() if line.startswith("krona"))
    assert "2024" in line and "a1 * a2 + in * out // (a1 * a2)" in " ".join(line.split())
    assert "alpha / r B A" in suite("methods", "lora").out
    assert [methods.year(paper) for paper in ("2106.09685", "HiRA, ICLR 2025", "")] == [2021, 2025, None]


def imported(*argv: str, of: tuple[str, ...]) -> tuple[str, list[str]]:
    """What a call in a process of its own prints, and which of the modules it imports."""
    code = (
        "import json, sys; from suite.cli.main import main\n"
        f"assert main({list(argv)}) == 0\n"
        f"print(json.dumps([name for name in {of} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    return done.stdout, json.loads(done.stderr)


def test_methods_imports_none_of_what_it_tells_of(suite: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    told, loaded = imported("methods", of=("torch", "peft", "transformers"))
    assert loaded == [] and "krona" in told
    assert told == suite("methods").out
    monkeypatch.setattr(methods, "version", lambda name: "999")
    assert "krona" in suite("methods").out and "r = 8" in suite("methods", "lora").out


def test_methods_asks_where_a_method_stands_beside_ours(suite: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "files", lambda: ["additive/mine.py"])
    monkeypatch.setattr(methods, "asked", lambda: {"mine": {"facts": FACTS | {"name": "mine"}}})
    assert "mine" in suite("methods").out


def test_count_imports_no_kernels_and_no_compiler() -> None:
    config = ROOT / "configs" / "relation_extraction" / "tiny.yaml"
    loaded = imported(
        "relation_extraction", "count", "--config", str(config), of=("bitsandbytes", "torch._inductor.compile_fx")
    )
    assert "trainable  244,480" in loaded[0] and loaded[1] == []


def test_doctor_tells_what_there_is(suite: Command) -> None:
    facts = suite("doctor", "--json").json()
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert facts["devices"][0]["name"] == "cpu"
    assert {"relation_extraction", "point_cloud", "audiocraft"} <= set(facts["extras"])
    assert not {"all", "dev"} & set(facts["extras"])


def test_doctor_names_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['absent-package>=2; extra == "some-domain"', 'torch>=99; extra == "some-domain"', "torch>=2"]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    lacks = doctor.lacking("some_domain")
    assert [line.partition(">")[0] for line in lacks] == ["absent-package", "torch"]
    assert doctor.lacking("other") == []


def test_adapters_without_a_verb_is_help(suite: Command) -> None:
    outcome = suite("adapters")
    assert outcome.code == 0
    verbs = ("list", "show", "pull", "push", "verify", "merge", "convert", "export", "swap")
    assert all(f"  {verb} " in outcome.out for verb in verbs)


def test_adapters_list(suite: Command) -> None:
    assert "entries" in suite("adapters", "list", "--json").json()
    assert suite("adapters", "list", "--domain", "relation_extraction").code == 0
    assert suite("adapters", "list", "--domain", "nowhere").code == 2


@pytest.fixture
def llama(tmp_path: Path) -> LlamaForCausalLM:
    """A tiny base in `base/`, with two LoRA adapters of different weights in `one/` and `two/`."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=1, **sizes)).eval()
    model.save_pretrained(tmp_path / "base")
    for name in ("one", "two"):
        adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=2, name=name)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_()
        adapters.save(model, tmp_path / name, name=name)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits


def test_merge_and_swap(suite: Command, llama: LlamaForCausalLM, tmp_path: Path) -> None:
    merged = suite("adapters", "merge", "./one", "merged", "--base", "./base", "--json")
    assert (merged.code, merged.err) == (0, "")  # bars are for terminals
    adapters.activate(llama, "one")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(found, logits(llama), atol=1e-5, rtol=0)

    assert suite("adapters", "swap", "merged", "./two").code == 0
    adapters.activate(llama, "two")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(found, logits(llama), atol=1e-5, rtol=0)


def test_swap_refuses_a_model_that_was_not_merged(suite: Command, llama: LlamaForCausalLM) -> None:
    outcome = suite("adapters", "swap", "base", "./one")
    assert outcome.code == 2
    assert "only a model that suite adapters merge wrote" in outcome.err


def test_merge_needs_a_base(suite: Command, llama: LlamaForCausalLM, tmp_path: Path) -> None:
    manifest = tmp_path / "one" / "suite.json"
    assert json.loads(manifest.read_text())["base"]["reference"] is None
    outcome = suite("adapters", "merge", "./one", "merged")
    assert outcome.code == 2
    assert "--base" in outcome.err
    assert not Path("merged").exists()


def test_a_domain_says_how_its_bases_are_merged(suite: Command, fake_domain: None, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "card.txt").write_text("a base")
    fake_parts.save_base(fake_parts.Net(), tmp_path / "base", tmp_path)
    model = adapters.attach(fake_parts.load_base(tmp_path / "base"), "lora", targets=["inner", "outer"], r=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    adapters.save(model, tmp_path / "one")
    x = torch.randn(5, 4)

    unknown = suite("adapters", "merge", "./one", "merged", "--base", "./base")
    assert unknown.code == 2 and "--domain" in unknown.err
    done = suite("adapters", "merge", "./one", "merged", "--base", "./base", "--domain", "fake")
    assert done.code == 0, done.err
    torch.testing.assert_close(fake_parts.load_base(tmp_path / "merged")(x), model(x), atol=1e-5, rtol=1e-5)
    assert (tmp_path / "merged" / "card.txt").read_text() == "a base"
    assert suite("adapters", "swap", "merged", "./one").code == 0
    torch.testing.assert_close(fake_parts.load_base(tmp_path / "merged")(x), model(x), atol=1e-5, rtol=1e-5)


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake domain reads and writes its authors' format, with options."""

    def convert(source: Path, out: Path, *, layout: Literal["kron", "official"] = "kron", r: int = 2) -> None:
        (out / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": r, "layout": layout}))
        shutil.copy2(source, out / "adapter_model.safetensors")

    def export(source: Path, out: Path, *, binary: bool = False) -> None:
        (out / ("adapter.bin" if binary else "adapter.txt")).write_text("")

    module = ModuleType("tests.domains.official")
    module.convert, module.export = convert, export
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_converters_take_options(suite: Command, fake_domain: None, official: None, tmp_path: Path) -> None:
    save_file({"base_model.model.inner.lora_A.weight": torch.ones(4, 4)}, tmp_path / "released.safetensors")
    words = ("adapters", "convert", "./released.safetensors", "made", "--domain", "fake")
    done = suite(*words, "--option", "layout=official", "--option", "r=4")
    assert done.code == 0, done.err
    settings = json.loads((tmp_path / "made" / "adapter_config.json").read_text())
    assert settings == {"peft_type": "LORA", "r": 4, "layout": "official"}
    exported = suite(
        "adapters", "export", "./made", "theirs", "--domain", "fake", "--official", "--option", "binary=true"
    )
    assert exported.code == 0 and (tmp_path / "theirs" / "adapter.bin").is_file(), exported.err


def test_files_of_methods_that_belong_to_no_domain_are_converted(suite: Command, tmp_path: Path) -> None:
    torch.save({"encoder.block.0.layer.0.SelfAttention.k.multi_lora_b": torch.ones(4, 1)}, tmp_path / "vectors.pt")
    done = suite("adapters", "convert", "./vectors.pt", "made", "--layout", "tfew_ia3", "--option", "base=hf:me/mine")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "made" / "adapter_config.json").read_text())["peft_type"] == "IA3"
    for words, said in (
        ((), "convert needs --domain, or --layout"),
        (("--layout", "square"), "the layouts are bottleneck, dept"),
        (("--layout", "dept", "--domain", "deepfake"), "and not both"),
    ):
        done = suite("adapters", "convert", "./vectors.pt", "other", *words)
        assert done.code == 2 and said in done.err, done.err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("layout", "write name=value"),
        ("layuot=kron", "did you mean layout?"),
        ("colour=red", "the options are layout, r"),
        ("layout=square", "none of kron, official"),
        ("r=two", "is no whole number"),
    ],
)
def test_bad_converter_options_cost_one_line(
    suite: Command, fake_domain: None, official: None, tmp_path: Path, option: str, words: str
) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "released.safetensors")
    done = suite("adapters", "convert", "./released.safetensors", "made", "--domain", "fake", "--option", option)
    assert done.code == 2 and words in done.err, done.err
    assert done.err.count("\n") == 1 and not (tmp_path / "made").exists()
