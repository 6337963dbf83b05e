"""The thirteen bases of the study, what each adapter is put on, and the published counts of trained parameters.

Source: Storhaug and Li, arXiv 2411.02462, and the configurations of its runs; counts are of LoRA at rank 16, (IA)^3,
and prompt tuning with 20 virtual tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from suite.errors import InputError
from suite.tables import aligned

Method = Literal["lora", "ia3", "prompt_tuning"]
METHODS: tuple[Method, ...] = ("lora", "ia3", "prompt_tuning")

RANK, ALPHA, DROPOUT, VIRTUAL_TOKENS = 16, 32, 0.1, 20


@dataclass(frozen=True)
class Targets:
    """What the adapters of a family of bases are put on.

    Attributes:
        lora: linear layers of LoRA.
        attention: layers whose outputs (IA)^3 scales. feedforward: layers whose inputs it scales.
    """

    lora: tuple[str, ...]
    attention: tuple[str, ...]
    feedforward: tuple[str, ...]


TARGETS: Mapping[str, Targets] = {
    "codegen": Targets(("qkv_proj",), ("qkv_proj",), ("fc_out",)),
    # `c_proj` alone would be the attention's output projection, too.
    "gpt_bigcode": Targets(("c_attn",), ("c_attn",), ("mlp.c_proj",)),
    "llama": Targets(("q_proj", "v_proj"), ("k_proj", "v_proj"), ("down_proj",)),
    "qwen2": Targets(("q_proj", "v_proj"), ("q_proj", "v_proj"), ("down_proj",)),
    "starcoder2": Targets(("q_proj", "v_proj"), ("q_proj", "v_proj"), ("c_proj",)),
}
"""By transformers' `model_type`."""


@dataclass(frozen=True)
class Base:
    """A base of the study.

    Attributes:
        reference: its id on the Hugging Face hub.
        architecture: its configuration, as far as it decides shapes.
        published: parameters as the paper prints them, by `total` and method.
        remarks: where those are not the counts of the configuration, and why.
    """

    reference: str
    architecture: Mapping[str, Any]
    published: Mapping[str, int]
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def targets(self) -> Targets:
        return TARGETS[self.architecture["model_type"]]


def _codegen(embedding: int, layers: int, heads: int, rotary: int = 64, **more: int) -> dict[str, Any]:
    sizes = {"n_embd": embedding, "n_layer": layers, "n_head": heads, "rotary_dim": rotary, **more}
    return {"model_type": "codegen", "vocab_size": 51200, "n_positions": 2048, "tie_word_embeddings": False, **sizes}


def _starcoder2(hidden: int, layers: int, heads: int, pairs: int, tied: bool = True) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers}
    heads_of = {"num_attention_heads": heads, "num_key_value_heads": pairs}
    fixed = {"vocab_size": 49152, "max_position_embeddings": 16384, "use_bias": True, "tie_word_embeddings": tied}
    return {"model_type": "starcoder2", **fixed, **sizes, **heads_of}


def _qwen2(vocab: int, hidden: int, inner: int, layers: int, heads: int, pairs: int, tied: bool) -> dict[str, Any]:
    sizes = {"vocab_size": vocab, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    heads_of = {"num_attention_heads": heads, "num_key_value_heads": pairs, "tie_word_embeddings": tied}
    return {"model_type": "qwen2", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, **sizes, **heads_of}


def _counts(total: int, lora: int, ia3: int, prompt: int) -> dict[str, int]:
    return {"total": total, "lora": lora, "ia3": ia3, "prompt_tuning": prompt}


BASES: Mapping[str, Base] = {
    base.reference: base
    for base in (
        Base(
            "Salesforce/codegen-350M-multi",
            _codegen(1024, 20, 16, rotary=32),
            _counts(356_712_448, 1_310_720, 143_360, 20_480),
        ),
        Base(
            "Salesforce/codegen2-1B_P",
            _codegen(2048, 16, 16, head_dim=128),
            _counts(1_015_306_240, 2_097_152, 229_376, 40_960),
        ),
        Base(
            "Salesforce/codegen2-3_7B_P",
            _codegen(4096, 16, 16, head_dim=256),
            _counts(3_641_174_016, 4_194_304, 458_752, 81_920),
        ),
        Base(
            "Salesforce/codegen2-7B_P",
            _codegen(4096, 32, 16),
            _counts(6_862_858_240, 8_388_608, 917_504, 81_920),
        ),
        Base(
            "Salesforce/codegen2-16B_P",
            _codegen(6144, 34, 24),
            _counts(16_032_155_648, 13_369_344, 1_462_272, 122_880),
        ),
        Base(
            "meta-llama/CodeLlama-7b-hf",
            {
                "model_type": "llama",
                "vocab_size": 32016,
                "max_position_embeddings": 16384,
                "hidden_size": 4096,
                "intermediate_size": 11008,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 32,
                "rms_norm_eps": 1e-5,
                "tie_word_embeddings": False,
            },
            _counts(6_738_546_688, 8_388_608, 614_400, 81_920),
        ),
        Base(
            "Qwen/Qwen2.5-Coder-3B",
            _qwen2(151936, 2048, 11008, 36, 16, 2, tied=True),
            _counts(3_085_938_688, 3_686_400, 479_232, 40_960),
        ),
        Base(
            "Qwen/Qwen2.5-Coder-7B",
            _qwen2(152064, 3584, 18944, 28, 28, 4, tied=False),
            _counts(7_615_616_512, 5_046_272, 645_120, 71_680),
        ),
        Base(
            "Qwen/Qwen2.5-Coder-14B",
            _qwen2(152064, 5120, 13824, 48, 40, 8, tied=False),
            _counts(14_770_033_664, 12_502_912, 958_464, 102_400),
            {"lora": "a misprint of 12,582,912: 48 layers x 16 x (5,120 + 5,120 + 5,120 + 1,024)"},
        ),
        Base(
            "bigcode/starcoderbase",
            {
                "model_type": "gpt_bigcode",
                "vocab_size": 49152,
                "n_positions": 8192,
                "n_embd": 6144,
                "n_layer": 40,
                "n_head": 48,
                "n_inner": 24576,
                "multi_query": True,
                "tie_word_embeddings": True,
            },
            _counts(15_517_456_384, 8_028_160, 1_239_040, 122_880),
        ),
        Base(
            "bigcode/starcoder2-3b",
            _starcoder2(3072, 30, 24, 2),
            _counts(3_030_371_328, 4_546_560, 468_480, 61_440),
        ),
        Base(
            "bigcode/starcoder2-7b",
            _starcoder2(4608, 32, 36, 4),
            _counts(7_173_923_840, 7_340_032, 753_664, 92_160),
        ),
        Base(
            "bigcode/starcoder2-15b",
            _starcoder2(6144, 40, 48, 4, tied=False),
            _counts(15_655_899_136, 12_124_160, 1_249_280, 122_880),
            {"total": "counts without the head of 301,989,888, which the configuration does not tie"},
        ),
    )
}


def settings(model_type: str, method: Method) -> dict[str, Any]:
    """What `suite.adapters.attach` takes for a method of the study on a family of bases.

    Raises:
        InputError: the study has no base of that family.
    """
    if model_type not in TARGETS:
        raise InputError(f"the study has no base of the kind {model_type!r}; it has {', '.join(TARGETS)}")
    targets = TARGETS[model_type]
    if method == "lora":
        sizes = {"r": RANK, "lora_alpha": ALPHA, "lora_dropout": DROPOUT}
        return {"method": "lora", "targets": list(targets.lora), **sizes}
    if method == "ia3":
        named = [*targets.attention, *targets.feedforward]
        return {"method": "ia3", "targets": named, "feedforward_modules": list(targets.feedforward)}
    return {"method": "prompt_tuning", "num_virtual_tokens": VIRTUAL_TOKENS, "task_type": "CAUSAL_LM"}


def skeleton(base: Base) -> Any:
    """A base's model with random weights, on the device that is current (`meta`: no memory)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture = dict(base.architecture)
    kind = architecture.pop("model_type")
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **architecture))


def counted(base: Base) -> dict[Method, tuple[int, int]]:
    """Trained and all parameters of a base, by method, from the meta device."""
    import torch

    from suite import adapters

    kind, found = base.architecture["model_type"], {}
    with torch.device("meta"):
        model = skeleton(base)
        total = sum(parameter.numel() for parameter in model.parameters())
        for method in METHODS:
            adapted = adapters.attach(model, settings(kind, method))
            found[method] = (adapters.count(adapted).trainable, total)
            adapters.detach(adapted)
    return found


def rows(bases: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Counted and published parameters of each base and method, with a remark where they differ.

    Raises:
        InputError: a name is none of the study's.
    """
    for name in bases or list(BASES):
        if name not in BASES:
            raise InputError(f"{name!r} is no base of the study; it has {', '.join(BASES)}")
        base = BASES[name]
        for method, (trainable, total) in counted(base).items():
            row: dict[str, Any] = {"base": name, "method": method, "trainable": trainable, "total": total}
            remarks = []
            for what, found in (("total", total), (method, trainable)):
                if found != base.published[what]:
                    remarks.append(f"published {what} {base.published[what]:,}: {base.remarks[what]}")
            yield {**row, "percent": 100 * trainable / total, "remark": "; ".join(remarks)}


def params(bases: list[str] | None = None) -> dict[str, Any]:
    """Parameters that the study's methods train on its bases, counted without weights and set beside the paper's.

    Args:
        bases: some of the thirteen; all where it is left out.
    """
    found = list(rows(bases))
    cells = [
        [row["base"], row["method"], f"{row['trainable']:,}", f"{row['total']:,}", f"{row['percent']:.4f} %"]
        for row in found
    ]
    table = aligned([["base", "method", "trainable", "total", "share"], *cells])
    remarks = [f"{row['base']}, {row['method']}: {row['remark']}" for row in found if row["remark"]]
    return {"counts": found, "message": "\n".join([table, *remarks])}
