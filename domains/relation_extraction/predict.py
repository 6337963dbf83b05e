"""From what users hold to triples: files, folders, standard input or strings through a base and its adapters.

Imports no torch before a model is loaded: what is wrong with inputs and options is told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from domains.relation_extraction.data.documents import Document, check_text, plain_document
from domains.relation_extraction.inference.loaded import LoadedExtractor, to_stderr
from domains.relation_extraction.inference.served import GuessedTokens, tokenizer_of
from domains.relation_extraction.inference.session import Session
from domains.relation_extraction.model.bundle import DOMAIN, NO_ADAPTER, find_bundle, no_bundle
from domains.relation_extraction.output.result import ExtractionResult
from domains.relation_extraction.types import ExtractionQuery, Triple
from suite import hub
from suite.errors import InputError
from suite.generation.server import Server
from suite.generation.tokenizer import load_tokenizer
from suite.prediction.folder import ResultFolder
from suite.prediction.inputs import several
from suite.prediction.loading import stated_base


class RelationExtractor(LoadedExtractor):
    """Documents in, triples out.

    >>> extractor = RelationExtractor.from_pretrained("tiny")
    >>> extractor("Marie Curie was born in Warsaw.")  # -> list[Triple]
    """

    @classmethod
    def from_pretrained(
        cls,
        adapter: str = "tiny",
        base: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        server: str | None = None,
    ) -> Self:
        """Find adapters and base; nothing big is loaded yet.

        Args:
            adapter: reference of the adapter, or of AutoRE's released bundle; `none` asks the base alone, any chat
                model, by one prompt.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto, float32, bfloat16, float16, or nf4 (weights in 4 bit).
            server: address of a server that speaks OpenAI's protocol, `http://localhost:8000/v1` for example, and
                answers in place of a model on this machine. It serves the base, and the adapters as `relation`, `head`
                and `fact` (or `joint`); here only the base's tokenizer is needed, and with `none` not even that.

        Raises:
            InputError: adapter or base does not exist, a step's adapter is missing, the base is not known, or the
                server does not answer.
        """
        none, served = adapter == NO_ADAPTER, None if server is None else Server(server)
        if none and base is None and served is None:
            raise InputError(f"adapter {NO_ADAPTER}: name the chat model with --base, for example hf:org/name")
        bundle = no_bundle() if none else find_bundle(hub.resolve(adapter, DOMAIN, kind="adapter"))
        reference = base if none else base or stated_base(bundle.base, bundle.root, DOMAIN)
        tokenizer: Any
        if reference is None:  # whatever model the server has, in the chat template that it has for it
            assert served is not None
            reference, tokenizer = served.base.name, GuessedTokens()
        elif served is not None:
            tokenizer = tokenizer_of(reference)
        else:
            tokenizer = load_tokenizer(hub.resolve(reference, DOMAIN, kind="base"))
        wording = bundle.manifest.wording(tokenizer, bundle.layout, bundle.root)
        return cls(wording, bundle, adapter=adapter, base=reference, device=device, dtype=dtype, server=served)

    def __call__(self, text: str, **options: Any) -> list[Triple]:
        """The triples of one text; options are the fields of `ExtractionQuery`.

        Raises:
            InputError: the text is empty or has no letters, or an option is wrong.
        """
        check_text(text, "text")
        return self.batch([text], **options)[0]

    def batch(self, texts: Sequence[str], **options: Any) -> list[list[Triple]]:
        """The triples of each text; their calls share batches.

        A text that cannot be read (an empty one, say) has no triples and costs a line on standard error.
        """
        return list(self.stream(texts, **options))

    def stream(self, texts: Iterable[str], **options: Any) -> Iterator[list[Triple]]:
        """The triples of each text as they come, a few texts at a time, so that `texts` may be without end.

        Raises:
            InputError: an option is wrong.
        """
        taken = 0

        def readable() -> Iterator[Document]:
            nonlocal taken
            for taken, text in enumerate([texts] if isinstance(texts, str) else texts, 1):
                try:
                    yield plain_document(text, f"text:{taken}", where=f"text:{taken}")
                except InputError as error:
                    to_stderr(f"error: {error}")

        given = 0
        with Session(self, ExtractionQuery(**options)) as session:
            for document, triples, _ in session.documents(readable()):
                number = int(document.id.removeprefix("text:"))
                yield from ([] for _ in range(given + 1, number))
                yield triples
                given = number
        yield from ([] for _ in range(given, taken))

    def predict(
        self,
        inputs: Any,
        *,
        out: ResultFolder | str | Path | None = None,
        resume: str | Path | None = None,
        overwrite: bool = False,
        **options: Any,
    ) -> Iterator[ExtractionResult]:
        """Yield one result an input, and one with `error` for every document that could not be read.

        Args:
            inputs: one or several of: paths of files and folders, `-` for standard input, strings of text. A string
                without any blank is a path.
            out: folder of the results; finished documents are noted there (progress.jsonl), so that a run can be
                resumed.
            resume: folder of an earlier run to go on with; documents that it has finished are not asked again.
            overwrite: begin anew in a folder where an earlier run has finished documents.
            **options: the fields of `ExtractionQuery`.

        Raises:
            InputError: an option is wrong, the adapters do not fit the base, or the folder holds finished documents
                and neither `resume` nor `overwrite` is given.
        """
        query = ExtractionQuery(**options)
        given = several(inputs)
        folder = ResultFolder.of(resume if out is None else out)
        if isinstance(given, Sequence):  # what is made as it is read cannot be looked at before
            folder.beside(given)
        again = resume is not None
        with Session(self, query, to_stderr, journal=folder.path, resume=again, overwrite=overwrite) as session:
            results = (result for one in given for result in session.input(one))
            if query.dry_run:  # nothing is made, not even a folder
                yield from results
                return
            folder.note(*session.files)
            yield from folder.keep(results)
