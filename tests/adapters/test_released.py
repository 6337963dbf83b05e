"""Files that others released, and those of old forks of peft, as adapters of ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from suite import adapters
from suite.adapters import released
from suite.adapters.methods.prompt import dept
from suite.errors import InputError
from tests.adapters.cases import fresh
from tests.adapters.test_published_counts import t0
from tests.real_data import real_data


def test_tfew_s_vectors_fit_t0_and_none_is_missing(tmp_path: Path) -> None:
    source = real_data("adapters/tfew_t03b_ia3_finish.pt")
    released.tfew_ia3(source, tmp_path)
    theirs, state = released.read_state(source), load_file(tmp_path / "adapter_model.safetensors")
    assert len(theirs) == len(state) == 192
    with pytest.warns(UserWarning, match="cannot be checked"):
        model = adapters.load(t0(32, 5120), tmp_path)
    adapters.save(model, tmp_path / "again")
    again = load_file(tmp_path / "again/adapter_model.safetensors")
    assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)
    assert sum(tensor.numel() for tensor in state.values()) == 540_672
    place = "encoder.block.3.layer.1.DenseReluDense"
    assert torch.equal(state[f"base_model.model.{place}.wo.ia3_l"], theirs[f"{place}.wi_1.multi_lora_b"].T.float())


@pytest.mark.parametrize("task", ["cola", "sst2"])
def test_dept_s_prompts_fit_t5(task: str, tmp_path: Path) -> None:
    source = real_data(f"adapters/dept_{task}")
    released.dept_prompt(source, tmp_path)
    with pytest.warns(UserWarning, match="cannot be checked"):
        model = adapters.load(small_t5(d_model=768), tmp_path)
    encoder = model.prompt_encoder["default"]
    theirs = released.read_state(source / "adapter_model.bin")
    for name, tensor in dept.official_tensors(theirs).items():
        torch.testing.assert_close(encoder.state_dict()[name], tensor.float(), atol=0, rtol=0)
    assert sum(tensor.numel() for tensor in theirs.values()) == 76_800
    assert encoder.settings.r == json.loads((source / "adapter_config.json").read_text())["r"]


def small_t5(**changes: Any) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = dict(d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, vocab_size=50, decoder_start_token_id=0)
    return T5ForConditionalGeneration(T5Config(**{**sizes, **changes}, feed_forward_proj="gated-gelu")).eval()


def test_scaling_what_comes_out_of_one_layer_is_scaling_what_goes_into_the_next(tmp_path: Path) -> None:
    """The converted vectors do what the released ones do."""
    model, state = small_t5(), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in ("k", "v", "wi_1") and "block" in name:
            state[f"{name}.multi_lora_b"] = 1 + 0.3 * torch.randn(module.out_features, 1)
    torch.save(state, tmp_path / "vectors.pt")
    (tmp_path / "a").mkdir()
    released.tfew_ia3(tmp_path / "vectors.pt", tmp_path / "a")
    with pytest.warns(UserWarning, match="cannot be checked"):
        loaded = adapters.load(small_t5(), tmp_path / "a")
    for key, vector in state.items():
        model.get_submodule(key.removesuffix(".multi_lora_b")).weight.data.mul_(vector)
    ids = torch.randint(1, 50, (2, 6))
    expected = model(input_ids=ids, decoder_input_ids=ids[:, :3]).logits
    torch.testing.assert_close(loaded(input_ids=ids, decoder_input_ids=ids[:, :3]).logits, expected)


def test_dept_on_a_t5_is_its_equation_and_generates() -> None:
    settings = dict(num_virtual_tokens=3, r=2, max_length=6, task_type="SEQ_2_SEQ_LM", num_transformer_submodules=1)
    model = adapters.attach(small_t5(), "dept", **settings).eval()
    encoder = model.prompt_encoder["default"]
    with torch.no_grad():
        encoder.lora_embedding_B.normal_()
    ids, wanted = torch.randint(1, 50, (2, 5)), torch.randint(1, 50, (2, 4))
    change = 8 / math.sqrt(2) * encoder.lora_embedding_A[:5] @ encoder.lora_embedding_B
    base = small_t5()
    prompts = encoder.prompt_embeddings.expand(2, -1, -1)
    embeddings = torch.cat([prompts, base.shared(ids) + change], 1)
    expected = base(inputs_embeds=embeddings, labels=wanted)
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=wanted)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.loss, expected.loss)
    given = model(input_ids=ids, decoder_input_ids=wanted)
    torch.testing.assert_close(given.logits, base(inputs_embeds=embeddings, decoder_input_ids=wanted).logits)
    answer = model.generate(input_ids=ids, max_new_tokens=4, do_sample=False)
    assert torch.equal(answer, base.generate(inputs_embeds=embeddings, max_new_tokens=4, do_sample=False))
    with adapters.disabled(model):
        bare = model(input_ids=ids, labels=wanted).logits
    torch.testing.assert_close(bare, base(input_ids=ids, labels=wanted).logits)
    with pytest.raises(InputError, match="an input has 7 tokens, and the adapter is made for 6"):
        model(input_ids=torch.ones(1, 7, dtype=torch.long), labels=wanted[:1])


def fork(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    torch.save(state, folder / "adapter_model.bin")
    return folder


def test_old_forks_adapters_load(tmp_path: Path) -> None:
    def base() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))

    x, common = torch.randn(2, 6), {"target_modules": ["0"], "fork_only": 1}
    down, up = torch.randn(3, 6), torch.randn(6, 3)
    state = {f"base_model.model.0.adapter_{n}.weight": t for n, t in (("down", down), ("up", up))}
    config = {"peft_type": "BOTTLENECK", "bottleneck_size": 3, "use_parallel_adapter": True, **common}
    source = fork(tmp_path / "bottleneck", config, state)
    (tmp_path / "b").mkdir()
    released.bottleneck(source, tmp_path / "b")
    model, bare = adapters.load(base(), tmp_path / "b"), base()
    torch.testing.assert_close(model(x), bare[1](bare[0](x) + torch.tanh(x @ down.T) @ up.T))

    columns, values = torch.tensor([4, 1]), torch.randn(6, 2)
    state = {"base_model.model.0.paca_w": values, "base_model.model.0.paca_indices": columns}
    source = fork(tmp_path / "paca", {"peft_type": "PACA", "r": 2, "paca_alpha": 6, **common}, state)
    (tmp_path / "p").mkdir()
    released.paca(source, tmp_path / "p")
    model, bare = adapters.load(base(), tmp_path / "p"), base()
    bare[0].weight.data[:, columns] = 3 * values
    torch.testing.assert_close(model(x), bare(x))

    a, b = [torch.randn(1, 6), torch.randn(2, 6)], [torch.randn(6, 1), torch.randn(6, 2)]
    row, column = [torch.randn(1, 1), torch.randn(2, 3)], [torch.randn(1, 1), torch.randn(3, 2)]
    lists = {"A": a, "B": b, "C_row": row, "C_col": column}
    state = {f"base_model.model.0.lora_{n}.{j}": t for n, ts in lists.items() for j, t in enumerate(ts)}
    config = {"peft_type": "TRIADAPTLORA", "reference_rank": 4, "init_rank": 1, "incre_rank_num": 2, "lora_alpha": 8}
    source = fork(tmp_path / "tri", {**config, **common}, state)
    (tmp_path / "t").mkdir()
    released.triadapt(source, tmp_path / "t")
    model, bare = adapters.load(base(), tmp_path / "t"), base()
    core = torch.zeros(3, 3)
    core[0, 0] = row[0] + column[0]
    core[1:] += row[1]
    core[:, 1:] += column[1]
    bare[0].weight.data += 8 / (3 + 1e-5) * torch.cat(b, 1) @ core @ torch.cat(a)
    torch.testing.assert_close(model(x), bare(x))


def test_llama_adapter_s_file_loads_where_its_prompts_belong(tmp_path: Path) -> None:
    state = {"adapter_query.weight": torch.randn(3, 32)}
    state |= {f"layers.{n}.attention.gate": torch.randn(1, 4, 1, 1) for n in range(2)}
    torch.save(state, tmp_path / "release.pth")
    (tmp_path / "a").mkdir()
    released.llama_adapter_prompts(tmp_path / "release.pth", tmp_path / "a", layers=2, adapter_len=3)
    model = adapters.load(fresh("llama"), tmp_path / "a")
    [(place, layer)] = adapters.layers(model)
    assert place.startswith("model.layers.1.self_attn")
    assert torch.equal(layer.tensor("prompt", "default"), state["adapter_query.weight"])
    assert torch.equal(layer.tensor("gate", "default"), state["layers.1.attention.gate"].flatten())


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": print}))
    with pytest.raises(InputError, match=r"evil\.pt: this is no file of tensors alone"):
        released.tfew_ia3(tmp_path / "evil.pt", tmp_path)
    torch.save({"encoder.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"encoder\.weight \(2, 2\) is no vector"):
        released.tfew_ia3(tmp_path / "other.pt", tmp_path)
    source = fork(tmp_path / "lora", {"peft_type": "LORA"}, {})
    with pytest.raises(InputError, match="peft_type is 'LORA', not PROMPT_TUNING_LORA"):
        released.dept_prompt(source, tmp_path)
    source = fork(tmp_path / "half", {"peft_type": "PROMPT_TUNING_LORA"}, {"prompt_embeddings": torch.ones(1)})
    with pytest.raises(InputError, match=r"the file lacks prompt_encoder\.lora_embedding_A"):
        released.dept_prompt(source, tmp_path)
