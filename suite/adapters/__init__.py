"""One adapter core for every method and every model, on top of peft.

Importing this package registers every method of ours with peft, so that peft, transformers and diffusers know it too.
"""

from __future__ import annotations

from suite.adapters.as_lora import LoraExport, export_lora
from suite.adapters.attach import MethodSpec, attach
from suite.adapters.base_state import teach_peft
from suite.adapters.context import context, enable_checkpointing, rows
from suite.adapters.count import ParameterCount, count
from suite.adapters.detach import detach
from suite.adapters.fingerprint import fingerprint
from suite.adapters.handle import layers, procedures
from suite.adapters.merge import merge, merged_state, unmerge
from suite.adapters.methods import import_all
from suite.adapters.peft_methods import declare_peft_methods
from suite.adapters.penalties import penalties
from suite.adapters.plan import plan
from suite.adapters.ranks import finalize
from suite.adapters.registry import MethodInfo, methods, register_tuner
from suite.adapters.scale import scale
from suite.adapters.state import buffer_names
from suite.adapters.storage import load, save, strict_bases
from suite.adapters.swap import swap
from suite.adapters.switching import activate, active, attached, disabled, refresh
from suite.adapters.ties import materialise
from suite.manifest import read_manifest

declare_peft_methods()
import_all()
teach_peft()

__all__ = [
    "LoraExport",
    "MethodInfo",
    "MethodSpec",
    "ParameterCount",
    "activate",
    "active",
    "attach",
    "attached",
    "buffer_names",
    "context",
    "count",
    "detach",
    "disabled",
    "enable_checkpointing",
    "export_lora",
    "finalize",
    "fingerprint",
    "layers",
    "load",
    "materialise",
    "merge",
    "merged_state",
    "methods",
    "penalties",
    "plan",
    "procedures",
    "read_manifest",
    "refresh",
    "register_tuner",
    "rows",
    "save",
    "scale",
    "strict_bases",
    "swap",
    "unmerge",
]
