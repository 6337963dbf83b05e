"""The three ways in which a method acts on a model. A method's class derives from exactly one of them.

`WeightChange`: W becomes another W; `LowRankChange`, by a product of two thin matrices. `Selected`: what is there
trains in place, whole tensors (`SelectedTensors`, or `ChangedTensors` where few of their entries change) or single
entries of a weight (`SelectedEntries`). `Site`: something new acts on what flows in or out of a module; `BlockSite`, at
places inside the blocks of an encoder. `PromptEncoder`: virtual tokens, in peft's own wrapper.
"""

from suite.adapters.carriers.base import tuner
from suite.adapters.carriers.block_site import BlockHooks, BlockSite
from suite.adapters.carriers.changed_tensors import ChangedTensors
from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.low_rank import LowRankChange, RankedConfig
from suite.adapters.carriers.prompt import PromptConfig, PromptEncoder, prompt_tuner
from suite.adapters.carriers.selected import Selected
from suite.adapters.carriers.selected_entries import SelectedEntries
from suite.adapters.carriers.selected_tensors import SelectedTensors
from suite.adapters.carriers.site import Site
from suite.adapters.carriers.weight_change import WeightChange

__all__ = [
    "BlockHooks",
    "BlockSite",
    "ChangedTensors",
    "LowRankChange",
    "PromptConfig",
    "PromptEncoder",
    "RankedConfig",
    "Selected",
    "SelectedEntries",
    "SelectedTensors",
    "Site",
    "TunerConfig",
    "WeightChange",
    "prompt_tuner",
    "tuner",
]
