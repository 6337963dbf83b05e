"""What an adapter remembers of how it was trained: the `domain` section of its `suite.json`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.relation_extraction.model import paradigms
from domains.relation_extraction.model.protocol import Layout, Protocol
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.model.templates import Templates
from domains.relation_extraction.model.wording import Wording
from suite.errors import InputError
from suite.files import check_kinds

_KINDS: Mapping[str, tuple[Any, str]] = {
    "protocol": (str, "a name"),
    "template": (str | None, "a name"),
    "layout": (str | None, "a name"),
    "pretokenize": (str, "a name"),
    "schema": (str | dict, "a name or an object"),
    "protocol_templates": (dict | None, "an object"),
}


@dataclass(frozen=True)
class Manifest:
    """How the calls were worded that an adapter was trained with.

    Attributes:
        protocol: id of the prompts. templates: their wording, where it is not shipped.
        template: chat template of the base; None where nothing tells it.
        layout: of the adapters; None where the folder alone tells it.
        schema: the relations.
        pretokenize: shape of the passages.
    """

    protocol: str
    template: str | None
    schema: Schema
    layout: Layout | None = None
    pretokenize: str = "docred"
    templates: Templates | None = None

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str = "the adapter") -> Manifest:
        """From the section, or from what stands for it in AutoRE's own folders.

        Args:
            where: it stands, for messages.

        Raises:
            InputError: something else stands where a name or an object belongs, or its schema is malformed or not
                known.
        """
        check_kinds(section, _KINDS, where)
        schema = section.get("schema", "redocred")
        return cls(
            section["protocol"],
            section.get("template"),
            Schema.load(schema) if isinstance(schema, str) else Schema.from_dict(schema, where=where),
            section.get("layout"),
            section.get("pretokenize", "docred"),
            section.get("protocol_templates"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The section, ready for `json.dumps`."""
        given = {"protocol_templates": self.templates} if self.templates else {}
        return {
            **given,
            "protocol": self.protocol,
            "template": self.template,
            "layout": self.layout,
            "schema": self.schema.to_dict(),
            "pretokenize": self.pretokenize,
        }

    def spoken(self) -> Protocol:
        """The protocol with its wording.

        Raises:
            InputError: there is no such protocol.
        """
        return paradigms.find(self.protocol, self.templates)

    def wording(self, tokenizer: Any, layout: Layout, where: Path) -> Wording:
        """How calls become token ids of a base's tokenizer.

        Args:
            layout: of the adapters that are there.

        Raises:
            InputError: the chat template is not told, or template or protocol do not exist.
        """
        if not self.template:
            raise InputError(
                f"{where}: its base does not tell the chat template; make it ours with "
                "domains.relation_extraction.official.convert(source, out, template=NAME)"
            )
        return Wording.of(tokenizer, self.template, self.spoken(), self.schema, layout, self.pretokenize)
