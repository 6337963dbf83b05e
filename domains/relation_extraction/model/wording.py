"""How a base is asked: everything between a document and token ids. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from domains.relation_extraction.model.encoding import CallTemplate, chat_template
from domains.relation_extraction.model.paradigms import ZERO_SHOT, check_protocol
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.model.protocol import Layout
from domains.relation_extraction.model.protocol import Protocol as PromptProtocol
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.types import ExtractionQuery


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

    def asked(self, query: ExtractionQuery, stated: str | None, where: str) -> Wording:
        """How the base is asked for `query`, which may name another paradigm, schema or wording.

        Args:
            stated: the protocol that the adapter says it was trained with. where: the adapter, for the message.

        Raises:
            InputError: the adapter was trained with another protocol, or what is named does not exist.
        """
        wording = self
        if query.paradigm == ZERO_SHOT:
            wording = replace(wording, protocol=find_protocol(ZERO_SHOT), layout="single")
        elif query.paradigm is not None:
            family = "" if "/" in query.paradigm else f"{self.protocol.family}/"
            asked = find_protocol(family + query.paradigm)
            check_protocol(asked.id, stated, where)
            wording = self if asked.id == self.protocol.id else replace(self, protocol=asked)
        protocol = wording.protocol.worded(query.protocol_templates).require_wording()
        schema = self.schema if query.schema is None else Schema.of(query.schema)
        if query.relation_descriptions:
            schema = schema.with_descriptions(query.relation_descriptions)
        return replace(wording, protocol=protocol, schema=schema)
