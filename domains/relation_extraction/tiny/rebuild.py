"""The embedded default of relation extraction: its tokenizer, its base and its adapters, rebuilt by one command.

    python -m domains.relation_extraction.tiny

The base is a small `LlamaForCausalLM`, pretrained on documents of the made world (`data/world.py`) to answer the calls
of `suite-v1/D_R_H_F_desc` for the world's pretraining relations. The adapters are trained by
`configs/relation_extraction/tiny.yaml` on the relations that pretraining holds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from domains.relation_extraction.data import world
from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.tiny import pretraining
from domains.relation_extraction.tiny.base import VOCABULARY, tokenizer, untrained
from domains.relation_extraction.tiny.pretraining import Phase
from suite import hub
from suite.training import embedded

DOMAIN = "relation_extraction"
PHASES = (
    Phase(800, seed=1),
    # By now names are copied well; what is left is which phrase states which relation.
    Phase(750, seed=2, short=0.5, choice_weight=3.0, decay=0.4),
    # Then to read past words that say nothing, whatever they are.
    Phase(500, seed=3, short=0.4, filler=0.4, choice_weight=3.0, decay=0.5),
    Phase(700, seed=4, short=0.4, filler=0.3, choice_weight=3.0, decay=0.7),
)


def write_base(folder: Path, phases: Sequence[Phase] = PHASES) -> Path:
    """Pretrain the base and save it, in 16 bit, as the folder that `from_pretrained` reads."""
    words = tokenizer()
    model = untrained(len(words))
    for phase in phases:
        pretraining.pretrain(model, words, phase)

    def save(folder: Path) -> None:
        model.to(torch.float16).save_pretrained(folder)
        words.save_pretrained(folder)

    return embedded.write_base(folder, save, base_card(model.num_parameters(), phases))


def write_adapters(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 42) -> dict[str, float]:
    """Train the three adapters by the shipped configuration and put them into `folder`; return what they reach."""
    return embedded.train_adapter(
        folder,
        DOMAIN,
        "tiny.yaml",
        run_dir,
        measure=lambda config, adapter: measure(str(adapter.absolute()), base),
        card=lambda config, figures: adapter_card(figures),
        base=base,
        seed=seed,
    )


def measure(adapter: str, base: str = "tiny", count: int = 120) -> dict[str, float]:
    """AutoRE's F1 on held-out documents, `adapted` and of the `frozen` base with the same decoding and constraint.

    The documents are read blind, as `suite relation_extraction evaluate tiny:test` does: their text alone, no entities.
    """
    from domains.relation_extraction.evaluation.judge import judge

    source = {"adapter": adapter, "base": base}
    reached = {}
    for name, frozen in (("adapted", False), ("frozen", True)):
        evaluation, _ = judge(f"tiny:test:{count}", source, {"constrained": True}, frozen=frozen)
        reached[name] = evaluation.report.micro.f1
    return reached


def stated_triples(document: Document) -> list[tuple[str, str, str]]:
    """The facts of a made document as strings, in the order of its text."""
    names = [entity.names[0] for entity in document.entities]
    return [(names[fact.head], fact.relation, names[fact.tail]) for fact in document.facts]


def rebuild(part: Literal["all", "base", "adapter"] = "all", run_dir: Path = Path("runs/tiny")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs new adapters.
        run_dir: where the training run of the adapters is kept.
    """
    home = embedded.home(DOMAIN)
    if part in ("all", "base"):
        embedded.record(write_base(home / "base"), DOMAIN, kind="base")
    if part in ("all", "adapter"):
        reached = write_adapters(home / "adapter", run_dir)["adapted"]
        metric = hub.Metric("micro-F1", round(reached, 3), "held-out documents of the made world")
        embedded.record(home / "adapter", DOMAIN, method="lora", base="tiny", metric=metric)


def base_card(parameters: int, phases: Sequence[Phase]) -> str:
    """The README of the base."""
    steps = " + ".join(str(phase.steps) for phase in phases)
    relations = ", ".join(relation.name for relation in world.relations("pretraining"))
    text = f"""\
A `LlamaForCausalLM` with {parameters / 1e6:.1f} million parameters, stored in 16 bit, and a byte-level BPE tokenizer of
{VOCABULARY:,} tokens. It was pretrained to answer the calls of the protocol `{pretraining.PROTOCOL}` on short documents
of a made world: invented names, {len(world.relations("pretraining"))} relations ({relations}).
It knows nothing of the real world, and is meant as the base of the adapters beside it, of tests and of demonstrations.

- Data: made at run time by `domains/relation_extraction/data/world.py` from `world.yaml`; nothing was downloaded.
  The tokenizer also learns from `english.txt`, written for this purpose.
- Training: {steps} steps of about 3,072 tokens; all calls on a document in one row; Muon and AdamW; the first two
  layers start with heads that copy (`suite/training/induction.py`). 2 CPU cores in fp32, no GPU, about 55 minutes.
- Rebuild: `python -m domains.relation_extraction.tiny --part base`; it gives a base of the same kind, not the same bits
  (the shipped one was interrupted between phases, and its grammar had fewer sentence frames).
"""
    head = {"language": "en", "library_name": "transformers", "pipeline_tag": "text-generation"}
    return embedded.card("The tiny base of relation extraction", text, head)


def adapter_card(figures: Mapping[str, float]) -> str:
    """The README of the three adapters."""
    relations = ", ".join(relation.name for relation in world.relations("downstream"))
    text = f"""\
Three LoRA adapters, `relation`, `subject` and `fact`, on the tiny base. Each folder is a plain peft adapter;
`suite.json` says what prediction needs (protocol, schema, template). They extract six relations that the base's
pretraining never states: {relations}.

- Data: 1,200 documents of the made world (`tiny:train`). Relations and the phrases that state them are
  shared with the held-out documents; names and sentence frames are not.
- Training: `suite relation_extraction train --config configs/relation_extraction/tiny.yaml`, on 2 CPU cores, no GPU.
- Reached on the 120 documents of `tiny:test`, end to end, greedy and constrained decoding: micro-F1
  {figures["adapted"]:.3f}; the frozen base with the same decoding: {figures["frozen"]:.3f}.
- Rebuild: `python -m domains.relation_extraction.tiny --part adapter`
"""
    head = {"language": "en", "library_name": "peft", "base_model": "relation_extraction/tiny"}
    return embedded.card("The tiny adapters of relation extraction", text, head)
