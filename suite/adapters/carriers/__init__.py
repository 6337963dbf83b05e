"""The three ways in which a method acts on a model. A method's class derives from exactly one of them.

`WeightChange`: W becomes another W. `Selected`: chosen entries of what is there are trained in place.
`Site`: something new acts on what flows in or out of a module.
"""

from suite.adapters.carriers.base import TunerConfig, tuner
from suite.adapters.carriers.selected import Selected
from suite.adapters.carriers.site import Site
from suite.adapters.carriers.weight_change import WeightChange

__all__ = ["Selected", "Site", "TunerConfig", "WeightChange", "tuner"]
