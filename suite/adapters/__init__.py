"""One adapter core for every method and every model, on top of peft.

Importing this package registers every method of ours with peft, so that peft, transformers and diffusers know it too.
"""

from __future__ import annotations

from suite.adapters.attach import MethodSpec, activate, active, attach, attached, detach, disabled, refresh
from suite.adapters.context import context, enable_checkpointing
from suite.adapters.count import ParameterCount, count
from suite.adapters.fingerprint import fingerprint
from suite.adapters.merge import merge, unmerge
from suite.adapters.methods import import_all
from suite.adapters.peft_methods import declare_peft_methods
from suite.adapters.plan import plan
from suite.adapters.registry import MethodInfo, methods, register_tuner
from suite.adapters.state import adapter_state, load_adapter_state
from suite.adapters.storage import load, read_manifest, save
from suite.adapters.swap import swap
from suite.adapters.ties import materialise, retie

declare_peft_methods()
import_all()

__all__ = [
    "MethodInfo",
    "MethodSpec",
    "ParameterCount",
    "activate",
    "active",
    "adapter_state",
    "attach",
    "attached",
    "context",
    "count",
    "detach",
    "disabled",
    "enable_checkpointing",
    "fingerprint",
    "load",
    "load_adapter_state",
    "materialise",
    "merge",
    "methods",
    "plan",
    "read_manifest",
    "refresh",
    "register_tuner",
    "retie",
    "save",
    "swap",
    "unmerge",
]
