"""BioC, the exchange format of biomedical text mining, as XML and as JSON.

A collection holds documents, a document passages, and these text, annotations and relations. Data sets disagree on
where identifiers and the ends of a relation stand; BC5CDR's, BioRED's and PubTator's ways are known, and plain `node`s.

The standard library reads the XML, a document at a time. Entities of its own, which may name files or grow without end,
are refused before they can be used, and nothing is read from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree import ElementTree

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention, check_text, occurrences
from domains.relation_extraction.data.readers.fields import field, mapping, relation_of
from domains.relation_extraction.data.readers.opened import Item, Opened
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError, one_line

_MOST_PROLOG = 1 << 16
_MOST_GAP = 2  # characters between passages; more stand for text that is not there
_IDENTIFIERS = ("identifier", "MESH", "Identifier", "normalized_id", "accession")
_UNKNOWN = frozenset({"", "-", "-1", "None"})
_TAIL_ROLES = frozenset({"arg2", "object", "tail", "target", "entity2", "theme2"})


def bioc_xml(file: Opened) -> Iterator[Item | InputError]:
    """Yield the documents of a BioC XML file in the shape that they have in BioC JSON.

    Raises:
        InputError: it is not well-formed, or declares entities.
    """
    parser: Any = ElementTree.XMLPullParser(["start", "end"])
    number, root = 0, None
    try:
        for block in _checked_blocks(file):
            parser.feed(block)
            for event, element in parser.read_events():
                if event == "start":
                    root = element if root is None else root
                elif element.tag == "document":
                    number += 1
                    yield f"{file.name}: document {number}", _document_of(element)
                    assert root is not None
                    root.clear()  # what was read is not kept
        parser.close()
    except ElementTree.ParseError as error:
        raise InputError(f"{file.name}: not well-formed XML ({one_line(error)}); correct the file") from error


def _checked_blocks(file: Opened) -> Iterator[str]:
    """The text of the file in blocks, the first of them up to where the collection begins, which declares nothing."""
    blocks = file.blocks()
    start = ""
    while "<collection" not in start and len(start) <= _MOST_PROLOG and (block := next(blocks, "")):
        start += block
    before, found, _ = start.partition("<collection")
    if not found or "<!ENTITY" in before:
        raise InputError(f"{file.name}: it declares XML entities, or is no BioC; save it as a plain BioC collection")
    yield start
    yield from blocks


def _document_of(element: ElementTree.Element) -> dict[str, Any]:
    document = _node_of(element)
    document["passages"] = [_node_of(passage) for passage in element.iter("passage")]
    return document


def _node_of(element: ElementTree.Element) -> dict[str, Any]:
    """A document, passage or sentence: its id, offset and text, and what is annotated in it."""
    node: dict[str, Any] = {"infons": _infons(element)}
    for key in ("id", "offset", "text"):
        if (text := element.findtext(key)) is not None:
            node[key] = int(text) if key == "offset" and text.strip().lstrip("-").isdigit() else text
    if sentences := element.findall("sentence"):
        node["sentences"] = [_node_of(sentence) for sentence in sentences]
    node["annotations"] = [
        {
            "id": annotation.get("id"),
            "infons": _infons(annotation),
            "text": annotation.findtext("text"),
            "locations": [
                {key: _whole(place.get(key)) for key in ("offset", "length")}
                for place in annotation.findall("location")
            ],
        }
        for annotation in element.findall("annotation")
    ]
    node["relations"] = [
        {"infons": _infons(relation), "nodes": [dict(one.attrib) for one in relation.findall("node")]}
        for relation in element.findall("relation")
    ]
    return node


def _infons(element: ElementTree.Element) -> dict[str, str]:
    return {infon.get("key", ""): infon.text or "" for infon in element.findall("infon")}


def _whole(text: str | None) -> Any:
    return int(text) if text is not None and text.strip().isdigit() else text


def bioc_records(records: Iterable[Item | InputError]) -> Iterator[Item | InputError]:
    """Yield the documents of BioC collections in JSON; other records as they are."""
    for one in records:
        documents = None if isinstance(one, InputError) else _documents_in(one[1])
        if isinstance(one, InputError) or documents is None:
            yield one
        else:
            yield from ((f"{one[0]}: document {number}", value) for number, value in enumerate(documents, 1))


def _documents_in(value: Any) -> list[Any] | None:
    """The documents of a collection, PubTator's answer included; None, where it is none."""
    for key in ("documents", "PubTator3"):
        documents = value.get(key) if isinstance(value, dict) else None
        if isinstance(documents, list) and documents and all(is_bioc(document) for document in documents):
            return documents
    return None


def bioc_text(record: Any) -> Any:
    """A document of BioC without what is annotated in it."""
    passages = record.get("passages") if isinstance(record, dict) else None
    if not isinstance(passages, list) or not all(isinstance(passage, dict) for passage in passages):
        return record
    labels = ("annotations", "relations")
    bare = [{key: value for key, value in passage.items() if key not in labels} for passage in passages]
    for passage in bare:
        passage["sentences"] = [
            {key: value for key, value in sentence.items() if key not in labels}
            for sentence in passage.get("sentences") or []
            if isinstance(sentence, dict)
        ]
    return {"id": record.get("id"), "passages": bare}


def is_bioc(record: Any) -> bool:
    """Whether a JSON record is a document of BioC."""
    return isinstance(record, dict) and isinstance(record.get("passages"), list)


def bioc_document(record: Any, where: str, id: str, schema: Schema | None = None) -> Document:
    """Make a document of one of BioC; its offsets are BioC's own where the passages stand close together.

    Annotations of one identifier are one entity; those without any are one by name. Relations with an end that is no
    annotation, or of a thing with itself, are left out, as are passages without text.

    Raises:
        InputError: an annotation is not in its passage's text, or the schema does not know a relation.
    """
    record = mapping(record, where)
    own = record.get("id")
    name = str(own) if isinstance(own, str | int) and str(own).strip() else id
    where = f"{where} ({name})" if own else where
    text, annotations, relations = "", [], list(_listed(record, "relations", where))
    for number, passage in enumerate(_listed(record, "passages", where), 1):
        place = f"{where} passage {number}"
        piece = _passage_text(passage, place)
        relations += _listed(passage, "relations", place)
        if not piece:
            continue
        offset = _offset(passage)
        gap = min(max(offset - len(text), 1), _MOST_GAP) if text else 0
        text += "\n" * gap
        inside = [*_listed(passage, "annotations", place)]
        for sentence in _listed(passage, "sentences", place):
            inside += _listed(sentence, "annotations", place)
        annotations += [(one, piece, offset, len(text), place) for one in inside]
        text += piece
    check_text(text, where)
    entities = _Entities()
    for one, piece, offset, shift, place in annotations:
        entities.add(one, piece, offset, shift, place)
    facts = []
    for relation in relations:
        kind, ends = _ends(relation)
        places = [entities.find(end) for end in ends]
        if kind and len(places) == 2 and None not in places and places[0] != places[1]:
            facts.append(Fact(places[0] or 0, places[1] or 0, *relation_of(kind, schema, where)))
    return Document(name, text, tuple(split_sentences(text)), entities.all(), tuple(dict.fromkeys(facts)))


def _listed(node: Any, key: str, where: str) -> list[dict[str, Any]]:
    value = node.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InputError(f"{where}: `{key}` must be a list of objects; see BioC's definition")
    return value


def _passage_text(passage: dict[str, Any], where: str) -> str:
    """The text of a passage, or of its sentences at their offsets."""
    if passage.get("text"):
        return field(passage, "text", str, where)
    text, start = "", _offset(passage)
    for sentence in _listed(passage, "sentences", where):
        piece, offset = sentence.get("text") or "", sentence.get("offset")
        text += " " * max(offset - start - len(text) if isinstance(offset, int) else 1, 0) + piece
    return text


def _offset(passage: dict[str, Any]) -> int:
    offset = passage.get("offset")
    return offset if isinstance(offset, int) else 0


class _Entities:
    """The entities of a document by identifier, and by the ids of their annotations."""

    def __init__(self) -> None:
        self._mentions: dict[str, list[Mention]] = {}
        self._types: dict[str, str | None] = {}
        self._keys: dict[str, str] = {}

    def add(self, annotation: dict[str, Any], piece: str, offset: int, shift: int, where: str) -> None:
        """Take an annotation of the passage `piece`, which begins at `offset` of BioC's text and at `shift` of ours."""
        infons = annotation.get("infons") or {}
        name = annotation.get("text")
        if not isinstance(infons, dict) or not isinstance(name, str) or not name.strip():
            raise InputError(f"{where}: an annotation needs `infons` and `text`; see BioC's definition")
        start, end = _place(annotation, name, piece, offset, where)
        found = next((str(infons[key]).strip() for key in _IDENTIFIERS if key in infons), "")
        key = f"-:{name.casefold()}" if found in _UNKNOWN else found
        self._mentions.setdefault(key, []).append(Mention(shift + start, shift + end, piece[start:end]))
        self._types.setdefault(key, str(infons["type"]) if infons.get("type") else None)
        if annotation.get("id") is not None:
            self._keys[str(annotation["id"])] = key
        for part in key.replace(";", ",").replace("|", ",").split(","):
            self._keys.setdefault(part, key)

    def find(self, end: str) -> int | None:
        """The index of the entity with an annotation or identifier called so."""
        key = self._keys.get(end, end)
        return list(self._mentions).index(key) if key in self._mentions else None

    def all(self) -> tuple[Entity, ...]:
        return tuple(Entity(key, self._types[key], tuple(found)) for key, found in self._mentions.items())


def _place(annotation: dict[str, Any], name: str, piece: str, offset: int, where: str) -> tuple[int, int]:
    """Where an annotation stands in its passage: from its first location to its last, or next to there by its name."""
    places = [
        (one["offset"] - offset, one["offset"] - offset + one["length"])
        for one in annotation.get("locations") or []
        if isinstance(one, dict) and isinstance(one.get("offset"), int) and isinstance(one.get("length"), int)
    ]
    start, end = min(places, default=(0, 0))[0], max((last for _, last in places), default=0)
    if 0 <= start < end <= len(piece) and (piece[start:end] == name or len(places) > 1):
        return start, end
    # Some count bytes, or from elsewhere: the name tells.
    found = occurrences(piece, name)
    if not found:
        raise InputError(f'{where}: "{name}" is annotated and does not occur in the text; correct the annotation')
    return min(found, key=lambda span: abs(span[0] - start))


def _ends(relation: dict[str, Any]) -> tuple[str, list[str]]:
    """The name of a relation, and its head and tail as ids of annotations or identifiers."""
    infons = relation.get("infons") or {}
    kind = str(infons.get("type") or infons.get("relation") or "")
    nodes = [node for node in relation.get("nodes") or [] if isinstance(node, dict) and "refid" in node]
    if len(nodes) == 2:
        ordered = sorted(nodes, key=lambda node: str(node.get("role", "")).lower() in _TAIL_ROLES)
        return kind, [str(node["refid"]) for node in ordered]
    for first, second in (("entity1", "entity2"), ("role1", "role2"), ("Chemical", "Disease")):
        if first in infons and second in infons:
            return kind, [_identifier(infons[first]), _identifier(infons[second])]
    return kind, []


def _identifier(value: Any) -> str:
    return str(value.get("identifier", "")) if isinstance(value, dict) else str(value)
