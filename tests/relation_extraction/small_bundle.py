"""Random adapters on a random base, saved as training saves them."""

from __future__ import annotations

import json

import torch
from transformers import AutoModelForCausalLM

from domains.relation_extraction.model.calls import STEPS
from domains.relation_extraction.model.schema import Relation, Schema
from suite import adapters

SCHEMA = Schema(
    "test",
    (
        Relation("spouse", "The head is married to the tail.", pid="P26", symmetric=True),
        Relation("place of birth", "The head was born in the tail.", pid="P19"),
        Relation("languages spoken, written or signed", "The head speaks the tail.", pid="P1412"),
    ),
)


def save_bundle(folder, base, layout="three", protocol="suite-v1/D_R_H_F_desc"):
    """Random adapters on a random base: with constrained decoding they find many triples, none of them true."""
    extra = {"protocol": protocol, "template": "suite", "layout": layout, "pretokenize": "docred"}
    extra["schema"] = SCHEMA.to_dict()
    model = AutoModelForCausalLM.from_pretrained(base)
    names = STEPS if layout == "three" else ("joint",)
    for name in names:
        torch.manual_seed(len(name))
        model = adapters.attach(model, "lora", r=4, targets=["q_proj", "v_proj"], name=name)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
        adapters.save(model, folder / name if layout == "three" else folder, name=name, extra=extra)
    manifest = json.loads((folder / ("relation/suite.json" if layout == "three" else "suite.json")).read_text())
    (folder / "suite.json").write_text(json.dumps(manifest))
