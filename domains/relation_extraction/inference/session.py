"""One call of the extractor: inputs read, cut into chunks, extracted, put back into the user's text, written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.relation_extraction.data.documents import Document, plain_document, pretokenize
from domains.relation_extraction.data.readers import check_reading, read_documents
from domains.relation_extraction.inference.chunks import Chunk, chunk, merge_triples
from domains.relation_extraction.inference.constraints import constraint_for
from domains.relation_extraction.inference.extraction import Extraction, PipelineOptions
from domains.relation_extraction.inference.grounding import ground, overlapping
from domains.relation_extraction.inference.loaded import LoadedExtractor
from domains.relation_extraction.inference.pipeline import extract
from domains.relation_extraction.inference.planned import plan
from domains.relation_extraction.inference.shots import solved
from domains.relation_extraction.inference.trace import Trace
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.paradigms import ZERO_SHOT
from domains.relation_extraction.model.protocol import NAMES_A_PROMPT, OURS
from domains.relation_extraction.output.formats import check_formats
from domains.relation_extraction.output.graph import check_base_iri
from domains.relation_extraction.output.result import ExtractionResult
from domains.relation_extraction.output.triples import file_name, read_aliases
from domains.relation_extraction.types import ExtractionQuery, Triple
from suite.errors import InputError
from suite.generation.chat import encode_text
from suite.prediction.inputs import Names, is_text, source_name
from suite.prediction.journal import Journal, check_begun

if TYPE_CHECKING:
    from domains.relation_extraction.inference.engine import ModelEngine
    from domains.relation_extraction.inference.served import ServedEngine

Finished = tuple[Document, list[Triple], list[Extraction]]
"""A document, its triples, and what its chunks gave (nothing, where it was finished before)."""

# Options that change where results go or how fast they come, not what they are.
_WITHOUT_EFFECT = (
    *("trace", "formats", "group_by", "aliases", "base_iri", "max_nodes", "escape_formulas"),
    *("backend", "batch_size", "dry_run", "format", "per_line", "per_document", "encoding"),
)


class Session(AbstractContextManager["Session"]):
    """The extractor with one query: settings looked up once, one engine, one journal.

    Args:
        report: told about each document.
        journal: folder where finished documents are noted. resume: go on with what is noted there. overwrite: begin
            anew even where something is.
        asked: fields of `PipelineOptions` that replace what the query says, for tests of one step.
        frozen: switch the adapters off.
    """

    def __init__(
        self,
        extractor: LoadedExtractor,
        query: ExtractionQuery,
        report: Callable[[str], None] = lambda line: None,
        *,
        journal: Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        asked: Mapping[str, Any] | None = None,
        frozen: bool = False,
    ) -> None:
        self.extractor, self.report = extractor, report
        self.asked, self.frozen = dict(asked or {}), frozen
        # AutoRE's own files do not state their version; the user knows it.
        stated = extractor.wording.protocol.id if extractor.bundle.stated else None
        self.wording = extractor.wording.asked(query, stated, extractor.adapter)
        if query.examples is not None:
            template = replace(self.wording.template, shots=solved(query.examples, self.wording))
            self.wording = replace(self.wording, template=template)
        relations = None if query.relations is None else self.wording.schema.require_all(query.relations)
        self.query = replace(query, relations=relations)
        if query.server is not None:
            raise InputError("server chooses what is loaded; give it to RelationExtractor.from_pretrained")
        if query.constrained and extractor.server is not None:
            raise InputError("--constrained needs the model on this machine; leave out --server, or --constrained")
        check_reading(query.format, query.encoding)
        check_formats(query.formats)
        check_base_iri(query.base_iri)
        read_aliases(query.aliases)
        self._names = Names()
        self._told: dict[str, float] = {}  # of the cost, in earlier results
        self._stack = ExitStack()
        self._trace: Trace | None = None
        # Opened only on entering: a signature reads the weights.
        self._folder, self._resume, self._overwrite = journal, resume, overwrite
        self._journal: Journal | None = None

    def __enter__(self) -> Session:
        query = self.query
        if self._folder is not None and not (query.dry_run or self._resume or self._overwrite):
            check_begun(self._folder)
        if query.trace:
            self._trace = self._stack.enter_context(Trace(query.trace))
        if self._folder is not None and not query.dry_run:
            journal = Journal(self._folder, self._signature(), resume=self._resume)
            self._journal = self._stack.enter_context(journal)
        if self.bare and self.extractor.bundle.parts and not query.dry_run:
            self._stack.enter_context(self.extractor.bare())
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    @property
    def files(self) -> list[Path]:
        """What is written as the run goes, and no result."""
        written = [self._journal.path] if self._journal else []
        return [*written, *([self.query.trace] if self.query.trace else [])]

    @property
    def bare(self) -> bool:
        return self.frozen or self.wording.protocol.version == ZERO_SHOT or not self.extractor.bundle.parts

    @cached_property
    def engine(self) -> ModelEngine | ServedEngine:
        wording = self.wording
        return self.extractor.engine(self.query, bare=self.bare, protocol=wording.protocol, template=wording.template)

    def input(self, one: str | Path) -> Iterator[ExtractionResult]:
        """Read one input and yield its result, then its errors."""
        name = source_name(one)
        errors: list[InputError] = []
        documents = self._read(one, errors)
        if self.query.dry_run:
            shaped = [(document, self._chunks(self._shape(document))) for document in documents]
            if shaped:
                costs = {"overhead": self._overhead, "together": self._options().group}
                asked = [(document.id, document.text, chunks) for document, chunks in shaped]
                rows = plan(asked, self.extractor, self.wording, self.query, **costs)
                yield ExtractionResult(name, plan=rows, query=self.query)
        elif self.query.per_document:
            for one_document in self.documents(documents):
                yield self._result(name, [one_document], one_document[0].id)
        elif (result := self._result(name, self.documents(documents), Path(name).stem)).texts:
            yield result
        for error in errors:
            yield ExtractionResult(name, error=_placed(str(error), name), query=self.query)

    def documents(self, documents: Iterable[Document]) -> Iterator[Finished]:
        """Yield each document with its triples and what its chunks gave (nothing, where it was finished before)."""
        # The extraction pulls documents ahead of what it yields, a group at a time.
        waiting: list[tuple[Document, list[Chunk]]] = []

        def passages() -> Iterator[Document]:
            for document in documents:
                shaped = self._shape(document)
                chunks = [] if self._finished(document) is not None else self._chunks(shaped)
                waiting.append((shaped, chunks))
                yield from (piece.document for piece in chunks)

        parts: list[Extraction] = []
        stream = extract(
            passages(), _Lazy(self), self.wording.protocol, self.wording.schema, self._options(), self._constraint()
        )
        for extraction in stream:
            while not waiting[0][1]:
                yield self._known(waiting.pop(0)[0])
            parts.append(extraction)
            if len(parts) == len(waiting[0][1]):
                yield self._finish(*waiting.pop(0), parts)
                parts = []
        for document, _ in waiting:
            yield self._known(document)

    def _result(self, name: str, finished: Iterable[Finished], stem: str) -> ExtractionResult:
        triples: list[Triple] = []
        texts: dict[str, str] = {}
        entities: dict[str, tuple[tuple[str, ...], ...]] = {}
        metadata: dict[str, Mapping[str, Any]] = {}
        dropped: Counter[str] = Counter()
        notices: list[str] = []
        for document, found, extractions in finished:
            triples += found
            texts[document.id] = document.source_text
            if document.metadata:
                metadata[document.id] = document.metadata
            if document.entities:
                entities[document.id] = tuple(entity.names for entity in document.entities)
            dropped.update(line.reason for extraction in extractions for line in extraction.dropped)
            notices += [notice for extraction in extractions for notice in extraction.notices]
        total = self._cost()
        cost = {key: value - self._told.get(key, 0) for key, value in total.items()}
        self._told = total
        return ExtractionResult(
            name,
            None,
            tuple(triples),
            texts,
            entities,
            dropped,
            tuple(notices),
            cost,
            query=self.query,
            schema=self.wording.schema,
            metadata=metadata,
            name=self._names.of(file_name(stem, "triples")) if texts else "",
        )

    def _read(self, one: str | Path, errors: list[InputError]) -> Iterator[Document]:
        query = self.query
        if is_text(one):
            documents: Iterable[Document] = self._text(one, errors)
        else:
            reading: dict[str, Any] = {"format": query.format, "per_line": query.per_line, "encoding": query.encoding}
            documents = read_documents(one, **reading, text_only=True, on_error=errors.append)
        try:
            for document in documents:
                size = len(document.source_text)
                if size <= query.max_characters:
                    yield document
                else:
                    most = query.max_characters
                    errors.append(
                        InputError(f"{document.id}: {size} characters, more than --max-characters {most}; split it")
                    )
        except InputError as error:
            errors.append(error)

    def _text(self, text: str, errors: list[InputError]) -> Iterator[Document]:
        try:
            yield plain_document(text, "text")
        except InputError as error:
            errors.append(error)

    def _shape(self, document: Document) -> Document:
        how = self.query.pretokenize
        return pretokenize(document, self.wording.pretokenize if how == "auto" else how)

    def _chunks(self, document: Document) -> list[Chunk]:
        limit, _ = self.extractor.window(self.query)
        limit -= self._overhead
        if limit < 1:
            raise InputError(f"--max-length leaves no room for a passage beside {self._overhead} tokens of instruction")
        tokenizer = self.wording.tokenizer
        return chunk(document, lambda text: len(encode_text(tokenizer, text)), limit, self.query.overlap)

    @cached_property
    def _overhead(self) -> int:
        """Tokens of the longest prompt without its passage, and room for the head."""
        wording = self.wording
        longest = max(wording.schema.relations, key=lambda relation: len(relation.name) + len(relation.description))
        lengths = [0]
        for step in wording.protocol.steps:
            call = Call(
                step,
                "",
                longest.name,
                longest.description or None,
                "head",
                tuple(wording.schema.names[:NAMES_A_PROMPT]),
            )
            lengths.append(len(wording.template.encode_prompt(wording.tokenizer, wording.protocol, call)))
        return max(lengths) + 24

    def _options(self) -> PipelineOptions:
        given = {**self.query.fields_of(PipelineOptions), "layout": self.wording.layout}
        return PipelineOptions(**given | self.asked)

    def _constraint(self) -> Any:
        protocol = self.wording.protocol
        wanted = self.query.constrained
        if wanted is None:
            wanted = protocol.family == OURS and not self.bare and self.extractor.server is None
        return partial(constraint_for, schema=self.wording.schema, empty=protocol.empty) if wanted else None

    def _finish(self, document: Document, chunks: list[Chunk], parts: list[Extraction]) -> Finished:
        """Put the triples of the chunks into the user's own text."""
        triples: list[Triple] = []
        protocol = self.wording.protocol
        for piece, part in zip(chunks, parts, strict=True):
            found = [replace(one, chunks=(piece.index,)) for one in part.triples]
            triples += ground(
                found,
                document,
                self.wording.schema,
                paradigm=protocol.version,
                protocol=protocol.id,
                adapter=self.extractor.adapter,
                within=(piece.start, piece.end),
            )
            if self._trace:
                self._trace.write(document.id, piece.index, part)
            self.report(part.summary())
        merged = [triple for triple in merge_triples(triples) if self._wanted(triple)]
        if self._journal:
            record = {"doc_id": document.id, "triples": [triple.to_dict() for triple in merged]}
            self._journal.add(document.id, document.source_text, record)
        return document, merged, parts

    def _wanted(self, triple: Triple) -> bool:
        if self.query.mode == "lenient" and overlapping(triple):
            return False
        return triple.score is None or triple.score >= self.query.min_score

    def _finished(self, document: Document) -> list[Triple] | None:
        record = self._journal.find(document.id, document.source_text) if self._journal else None
        return None if record is None else [Triple.from_dict(triple) for triple in record["triples"]]

    def _known(self, document: Document) -> Finished:
        self.report(f"{document.id}: finished before")
        return document, self._finished(document) or [], []

    def _signature(self) -> dict[str, Any]:
        """What else the triples of a text depend on: a finished document counts only under the same."""
        asked = {name: str(value) for name, value in asdict(self.query).items() if name not in _WITHOUT_EFFECT}
        wording = self.wording
        weights = self.extractor.bundle.digests()
        return {
            "query": asked,
            "protocol": [wording.protocol.id, wording.protocol.templates],
            "schema": wording.schema.to_dict(),
            "base": self.extractor.base,
            "weights": weights,
            **({"served": self.extractor.server.base.name} if self.extractor.server else {}),
        }

    def _cost(self) -> dict[str, float]:
        return asdict(self.engine.counters) if "engine" in self.__dict__ else {}


def _placed(error: str, name: str) -> str:
    """The error without the name of its input, which stands beside it; a file of a folder is named within it."""
    for prefix in (f"{name}: ", f"{name} ", f"{name}/"):
        error = error.removeprefix(prefix)
    return error


class _Lazy:
    """The run's engine, made at the first call: a run whose documents are all finished loads no model."""

    def __init__(self, run: Session) -> None:
        self.run = run

    def generate(self, calls: Sequence[Call], **options: Any) -> Any:
        return self.run.engine.generate(calls, **options)
