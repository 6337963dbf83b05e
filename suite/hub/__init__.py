"""The hub: from references to verified files, and back out to others.

>>> from suite import hub
>>> hub.parse("hf:org/name@v1:adapter")
HubRepository(repository='org/name', revision='v1', folder='adapter')

Importing it loads neither torch nor huggingface_hub.
"""

from __future__ import annotations

from suite.hub.conversion import convert, export
from suite.hub.index import Entry, Metric, catalogue, record
from suite.hub.manage import listing, pull, push, show, verify
from suite.hub.references import CatalogueName, HubRepository, LocalPath, Reference, Url, parse
from suite.hub.resolution import resolve

__all__ = [
    "CatalogueName",
    "Entry",
    "HubRepository",
    "LocalPath",
    "Metric",
    "Reference",
    "Url",
    "catalogue",
    "convert",
    "export",
    "listing",
    "parse",
    "pull",
    "push",
    "record",
    "resolve",
    "show",
    "verify",
]
