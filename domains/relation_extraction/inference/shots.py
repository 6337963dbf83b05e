"""Few-shot prompts: labelled documents as solved examples before the question."""

from __future__ import annotations

from pathlib import Path

from domains.relation_extraction.data.documents import pretokenize
from domains.relation_extraction.data.readers import read_documents
from domains.relation_extraction.data.refinement import alias_groups
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.protocol import NAMES_A_PROMPT
from domains.relation_extraction.model.wording import Wording
from suite.errors import InputError


def solved(file: Path, wording: Wording) -> str:
    """The documents of a labelled file, each with its answer, as text that stands before a question.

    Of the aliases of a fact the first ones are written.

    Raises:
        InputError: the file is malformed, or the protocol asks in several steps.
    """
    protocol = wording.protocol
    if protocol.steps != ("fact",):
        raise InputError(f"--examples goes with protocols of one prompt (zero-shot, D_F), not with {protocol.id}")
    parts = []
    for document in read_documents(file, schema=wording.schema, labelled=True):
        shaped = pretokenize(document, wording.pretokenize)
        call = Call("fact", shaped.text, relations=tuple(wording.schema.names[:NAMES_A_PROMPT]))
        triples = [group.triples[0] for group in alias_groups(shaped)]
        parts.append("".join(protocol.pieces(call)) + protocol.answer("fact", triples))
    return "".join(f"{part}\n\n" for part in parts)
