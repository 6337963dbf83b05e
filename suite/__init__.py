"""PEFT Suite: parameter-efficient fine-tuning recipes for real domains, on one adapter core and one trainer.

Importing `suite` loads neither torch nor peft; take what you need from `suite.adapters`, `suite.training`,
`suite.hub` and `suite.media`.
"""

__version__ = "0.1.0"
