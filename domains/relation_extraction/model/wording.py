"""How a base is asked: everything between a document and token ids. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domains.relation_extraction.model.encoding import CallTemplate, chat_template
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.model.protocol import Layout
from domains.relation_extraction.model.protocol import Protocol as PromptProtocol
from domains.relation_extraction.model.schema import Schema


@dataclass(frozen=True)
class Wording:
    """How a base is asked: everything between a document and token ids.

    Attributes:
        pretokenize: the shape of the passages: `docred` (tokens joined by single spaces) or `none`.
    """

    tokenizer: Any
    template: CallTemplate
    protocol: PromptProtocol
    schema: Schema
    layout: Layout = "three"
    pretokenize: str = "docred"

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        template: str,
        protocol: str | PromptProtocol,
        schema: Schema,
        layout: Layout,
        pretokenize: str = "docred",
    ) -> Wording:
        """Look the names up.

        Raises:
            InputError: there is no such template or protocol.
        """
        found = find_protocol(protocol) if isinstance(protocol, str) else protocol
        return cls(tokenizer, chat_template(template), found, schema, layout, pretokenize)
