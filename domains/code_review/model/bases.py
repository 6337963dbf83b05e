"""The language models that code review adapts."""

from __future__ import annotations

from functools import partial

from suite.generation import base

DOMAIN = "code_review"

load_base = partial(base.load_base, domain=DOMAIN)
base_config = partial(base.base_config, domain=DOMAIN)
base_skeleton = partial(base.base_skeleton, domain=DOMAIN)
