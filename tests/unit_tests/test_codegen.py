"""CodeGen's fused projections in other numbers of blocks than transformers takes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from domains.unit_tests import TestWriter, UnitTestRecipe
from domains.unit_tests.model.bases import load_base
from suite import adapters
from suite.errors import InputError
from tests.unit_tests.small import tokenizer, write_base

HEADS, SIZE = 8, 8


def rows(projections: dict[str, torch.Tensor], blocks: int) -> torch.Tensor:
    """Rows of a fused projection by their definition: blocks of queries, values and keys of some heads each."""
    of_block = HEADS // blocks
    parts = [
        projections[name][(block * of_block + head) * SIZE : (block * of_block + head + 1) * SIZE]
        for block in range(blocks)
        for name in ("q", "v", "k")
        for head in range(of_block)
    ]
    return torch.cat(parts)


def write(folder: Path, blocks: int) -> Path:
    """A CodeGen of eight heads whose fused projections lie in so many blocks; it computes the same for any number."""
    torch.manual_seed(0)
    sizes = {"n_embd": HEADS * SIZE, "n_layer": 2, "n_head": HEADS, "rotary_dim": 4, "n_positions": 128}
    config = AutoConfig.for_model("codegen", vocab_size=len(tokenizer()), **sizes)
    model = AutoModelForCausalLM.from_config(config)
    draws = torch.Generator().manual_seed(1)
    for block in model.transformer.h:
        width = HEADS * SIZE
        projections = {name: torch.randn(width, width, generator=draws) * 0.2 for name in ("q", "v", "k")}
        block.attn.qkv_proj.weight.data = rows(projections, blocks)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("codegen")
    return {blocks: write(folder / str(blocks), blocks) for blocks in (2, 4, 8)}


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.tensor([tokenizer()("def f(x):\n    return x\n")["input_ids"]])


@pytest.mark.parametrize("blocks", [2, 8])
def test_weights_in_other_blocks_compute_what_they_mean(bases, ids, blocks):
    wanted = load_base(str(bases[4]))[0](ids).logits
    model = load_base(str(bases[blocks]), qkv_blocks=blocks)[0]
    torch.testing.assert_close(model(ids).logits, wanted)
    torch.testing.assert_close(deepcopy(model)(ids).logits, wanted)
    assert (load_base(str(bases[blocks]))[0](ids).logits - wanted).abs().max() > 1e-2, "read as 4 they mean another"


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_an_adapter_lies_in_the_order_of_the_weights_and_is_merged_there(bases, ids, method):
    """Its rows are those of the weights, so that other programs that know the blocks can read it."""
    recipe = UnitTestRecipe(str(bases[8]), adapter={"preset": method}, qkv_blocks=8)
    model = recipe.build()
    torch.manual_seed(2)
    name = "lora_B" if method == "lora" else "ia3_l"
    with torch.no_grad():
        for place, parameter in model.named_parameters():
            if name in place and "qkv_proj" in place:
                parameter.normal_()
    model.eval()
    adapted = model(ids).logits
    reference = UnitTestRecipe(str(bases[4]), adapter={"preset": method}).build().eval()
    order = _positions(8)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for place, parameter in reference.named_parameters():
            if "lora" in place or "ia3" in place:
                parameter.copy_(own[place][order] if name in place and "qkv_proj" in place else own[place])
    torch.testing.assert_close(reference(ids).logits, adapted)
    adapters.merge(model)
    torch.testing.assert_close(model(ids).logits, adapted, rtol=1e-4, atol=1e-4)
    assert recipe.extra()["qkv_blocks"] == 8 and "qkv_blocks" not in UnitTestRecipe(str(bases[4])).extra()


def _positions(blocks: int) -> torch.Tensor:
    """Where each row of four blocks stands in weights of so many."""
    named = {name: number * HEADS * SIZE + torch.arange(HEADS * SIZE) for number, name in enumerate("qvk")}
    at = {int(row): place for place, row in enumerate(rows(named, blocks))}
    return torch.tensor([at[int(row)] for row in rows(named, 4)])


def test_a_writer_takes_the_blocks_of_its_adapter_or_those_that_are_said(bases, tmp_path, ids):
    adapters.save(UnitTestRecipe(str(bases[8]), qkv_blocks=8).build(), tmp_path / "adapter")
    bare = TestWriter.from_pretrained("none", base=str(bases[8]))
    before = bare.surprise()
    bare.use_blocks(8)
    assert bare.surprise() != before and bare.frozen().manifest.qkv_blocks == 8
    plain = TestWriter.from_pretrained(str(tmp_path / "adapter"), base=str(bases[8]))
    plain.use_blocks(8)  # a plain peft folder does not say how it was trained
    ours = replace(plain.chosen, manifest={**plain.chosen.manifest, "domain": {"append_end": True}})
    told = TestWriter(ours, adapter="ours", base=str(bases[8]))
    with pytest.raises(InputError, match=r"--qkv-blocks 8: the adapter ours was trained with 4; leave it out"):
        told.use_blocks(8)


@pytest.mark.parametrize("blocks", [3, 16])
def test_heads_that_do_not_lie_in_so_many_blocks_are_refused(bases, blocks):
    with pytest.raises(InputError, match=f"qkv_blocks {blocks}: the base has 8 heads"):
        load_base(str(bases[8]), qkv_blocks=blocks)


def test_another_base_has_no_blocks(tmp_path):
    base = write_base(tmp_path / "llama", "llama")
    with pytest.raises(InputError, match="qkv_blocks 8 is of CodeGen's fused projections, and the base is a llama"):
        load_base(str(base), qkv_blocks=8)
    file = tmp_path / "mod.py"
    file.write_text("def f(x):\n    return x\n")
    with pytest.raises(InputError, match="qkv_blocks 8 is of CodeGen's"):
        list(TestWriter.from_pretrained("none", base=str(base)).predict(file, qkv_blocks=8, no_run=True))
