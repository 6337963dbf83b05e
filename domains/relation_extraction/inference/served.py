"""From calls to generations by a server: each step asks the model that is served under its adapter's name.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from domains.relation_extraction.model.bundle import DOMAIN
from domains.relation_extraction.model.calls import STEPS, Call, Generation, Step
from domains.relation_extraction.model.encoding import CallTemplate
from domains.relation_extraction.model.protocol import SAMPLING, Layout, Protocol
from suite import hub
from suite.errors import InputError
from suite.generation.counters import Counters
from suite.generation.server import Ask, Server
from suite.generation.tokenizer import load_tokenizer

NAMES: Mapping[str, tuple[str, ...]] = {**{step: (step,) for step in STEPS}, "subject": ("subject", "head")}
"""Under which names a step's adapter may be served."""


class GuessedTokens:
    """In place of a tokenizer that only the server has: enough to cut documents, by the longest that texts become."""

    chat_template = None
    bos_token = ""

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def encode(self, text: str, **_: Any) -> list[int]:
        """As many ids as most tokenizers need at most: one for three bytes."""
        return [0] * math.ceil(len(text.encode("utf-8", "surrogatepass")) / 3)


def tokenizer_of(reference: str) -> Any:
    """The tokenizer of a base that a server runs; of a repository its few files are fetched, and no weights.

    Raises:
        InputError: there is no such base, or it has none.
    """
    parsed = hub.parse(reference, DOMAIN)
    if not isinstance(parsed, hub.HubRepository) or parsed.folder:
        return load_tokenizer(hub.resolve(reference, DOMAIN, kind="base"))
    return load_tokenizer(parsed.repository, revision=parsed.revision)


class ServedEngine:
    """Answers calls by a server, as `ModelEngine` does by a model on this machine.

    Args:
        tokenizer: of the base; prompts are sent as its token ids, exactly as adapters were trained. `GuessedTokens`:
            the server has it, and gets the question as text for its own chat template.
        bare: ask the base itself.
        decoding, seed: as for `ModelEngine`; answers that are sampled are the server's.
        max_new_tokens: longest answer.
        together: calls on their way at one time.

    Raises:
        InputError: the server cannot be reached, or does not serve an adapter of the protocol.
    """

    def __init__(
        self,
        server: Server,
        tokenizer: Any,
        template: CallTemplate,
        protocol: Protocol,
        *,
        layout: Layout = "three",
        bare: bool = False,
        decoding: str = "greedy",
        seed: int = 0,
        max_new_tokens: int = 1024,
        together: int,
    ) -> None:
        self.server, self.tokenizer, self.template, self.protocol = server, tokenizer, template, protocol
        self.decoding, self.seed, self.max_new_tokens, self.together = decoding, seed, max_new_tokens, together
        self.counters = Counters()
        self.models = {
            step: server.base.name if bare else self._served(protocol.adapter(step, layout)) for step in protocol.steps
        }

    def generate(
        self, calls: Sequence[Call], *, constraint: Callable[[Call], Any] | None = None, attempt: int = 0
    ) -> list[Generation]:
        """Answer calls, in their order; an attempt above 0 is sampled with a seed of its own.

        Raises:
            InputError: the server cannot be reached, or refuses.
            ValueError: there is a constraint, which needs the model itself.
        """
        if constraint is not None:
            raise ValueError("a server's answers cannot be constrained")
        started = time.perf_counter()
        answers = self.server.generate(
            [Ask(self.models[call.step], self._prompt(call), self._seed(call, attempt)) for call in calls],
            max_tokens=self.max_new_tokens,
            sampling=SAMPLING if attempt or self.decoding == "official" else None,
            stop=self.template.stops,
            together=self.together,
        )
        counters = self.counters
        counters.calls += len(answers)
        counters.prompt_tokens += sum(answer.prompt_tokens for answer in answers)
        counters.prefilled_tokens = counters.prompt_tokens  # what it shares between prompts, a server does not tell
        counters.generated_tokens += sum(answer.generated_tokens for answer in answers)
        counters.seconds += time.perf_counter() - started
        return [Generation(answer.text, answer.complete, answer.offsets, answer.logprobs) for answer in answers]

    def _prompt(self, call: Call) -> Sequence[int] | str:
        if isinstance(self.tokenizer, GuessedTokens):
            pieces = self.template.pieces(self.protocol, call)
            return "".join(piece for piece in pieces if isinstance(piece, str))
        return self.template.encode_prompt(self.tokenizer, self.protocol, call)

    def _seed(self, call: Call, attempt: int) -> int:
        digest = hashlib.sha256(f"{self.seed}/{attempt}/{call}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:4], "big")

    def _served(self, adapter: str) -> str:
        served = [model.name for model in self.server.models]
        wanted = NAMES.get(adapter, (adapter,))
        for name in wanted:
            if name in served:
                return name
        flags = " ".join(
            f"{name}=FOLDER" for name in (("joint",) if adapter == "joint" else _steps(self.protocol.steps))
        )
        raise InputError(
            f"server {self.server.address}: it serves {', '.join(served)}, and no adapter {' or '.join(wanted)}; "
            f"start it with --enable-lora --lora-modules {flags}"
        )


def _steps(steps: Sequence[Step]) -> list[str]:
    return [NAMES[step][-1] for step in steps]
