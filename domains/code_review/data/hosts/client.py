"""A host's interface over the network: a token from the environment alone, one clear line for every refusal.

The token goes to the host that it is for and to no other: not to where an answer redirects, not to a page's `next` on
another host, and into no message.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from time import sleep
from time import time as now
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase

from domains.code_review.data.hosts.naming import MergeRequest, PullRequest
from domains.code_review.data.hosts.requested import RequestedDiff
from suite.errors import InputError, one_line

R = TypeVar("R", PullRequest, MergeRequest)

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and without a byte."""
RETRIES = 3
MOST_WAIT = 60.0
"""Seconds that a limit of requests is waited for; a longer one is told."""
MOST_BYTES = 64 * 2**20
"""Of one answer."""
PAGE = 100

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TROUBLED, _MOVED = (500, 502, 503, 504), (301, 302, 307, 308)


class Refused(InputError):
    """A host's answer is no success. status: that it has."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Bearer(AuthBase):
    """Our token, or none: without this, requests would take one from ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Client(ABC, Generic[R]):
    """Asks one host.

    Args:
        address: of the interface. token: sent with every request; empty: none.
        named: what the address comes from, for messages; the environment variable by default.

    Attributes:
        TOKEN, ADDRESS: environment variables, of the token and of the interface where it is not the public one.
        PUBLIC: the public interface.
        HEADERS: sent with every request. JSON: the form in which data are asked for.
        host: that is asked. has_token: whether it is asked with one.

    Raises:
        InputError: the address is no https one (http is for this machine alone), or the token cannot be one.
    """

    TOKEN: ClassVar[str]
    ADDRESS: ClassVar[str]
    PUBLIC: ClassVar[str]
    HEADERS: ClassVar[Mapping[str, str]] = {}
    JSON: ClassVar[str] = "application/json"

    def __init__(self, address: str, token: str, named: str = "") -> None:
        address, token = address.rstrip("/"), token.strip()
        parts = urlsplit(address)
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and _here(parts.hostname))):
            raise InputError(f"{named or self.ADDRESS} is {address!r}; give an https address, e.g. {self.PUBLIC}")
        if not re.fullmatch(r"[\x21-\x7e]*", token):
            raise InputError(f"{self.TOKEN} holds blanks or other characters that no token has; set it anew")
        self.address, self.host, self.has_token = address, parts.netloc, bool(token)
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        self._session.headers.update({"User-Agent": "peft-suite", **self.HEADERS})

    @abstractmethod
    def read(self, request: R, since: str = "") -> RequestedDiff:
        """Read a request's diff.

        Args:
            since: a revision of it; what came after it is read, too.

        Raises:
            InputError: it cannot be had; says why and what to do.
        """

    @abstractmethod
    def file(self, request: R, path: str, commit: str) -> bytes:
        """A file of a request's repository as it is at a commit.

        Raises:
            InputError: it cannot be had.
        """

    @property
    def without_token(self) -> str:
        """Why it is asked without a token; empty where it has one."""
        return "" if self.has_token else f"{self.TOKEN} is not set"

    def json(self, path: str, what: str) -> Any:
        """The JSON that a path holds.

        Args:
            what: the thing asked for, for messages.

        Raises:
            InputError: it cannot be had; says why and what to do.
        """
        return self._parsed(self._call("GET", path, what, self.JSON)[0], what)

    def content(self, path: str, what: str, accept: str) -> bytes:
        """What a path holds, in another form than JSON."""
        return self._call("GET", path, what, accept)[0]

    def pages(self, path: str, what: str) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list, each one with its objects."""
        following: str | None = f"{path}{'&' if '?' in path else '?'}per_page={PAGE}"
        while following:
            raw, answer = self._call("GET", following, what, self.JSON)
            found = self._parsed(raw, what)
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise InputError(f"{what}: {self.host} answers with no list of objects; is {self.ADDRESS} right?")
            yield found
            following = answer.links.get("next", {}).get("url")

    def post(self, path: str, what: str, body: dict[str, Any]) -> Any:
        """Send an object; sent again only where the first one was refused for its time."""
        return self._parsed(self._call("POST", path, what, self.JSON, body)[0], what)

    def _call(
        self, method: str, path: str, what: str, accept: str, body: dict[str, Any] | None = None
    ) -> tuple[bytes, requests.Response]:
        address = urljoin(f"{self.address}/", path) if "://" in path else f"{self.address}{path}"
        for attempt in range(RETRIES + 1):
            self._check_host(address, what)
            last = attempt == RETRIES
            try:
                answer = self._session.request(
                    method,
                    address,
                    json=body,
                    headers={"Accept": accept},
                    timeout=TIMEOUT,
                    stream=True,
                    allow_redirects=False,
                )
                raw = self._read(answer, what)
            except requests.RequestException as error:
                if method == "GET" and not last and not isinstance(error, requests.exceptions.SSLError):
                    sleep(0.5 * 2**attempt)
                    continue
                raise InputError(f"{what}: {self._trouble(error, method)}") from None
            if answer.status_code in _MOVED and (method == "GET" or answer.status_code in (307, 308)):
                address = urljoin(address, answer.headers.get("Location", ""))
                continue
            if 200 <= answer.status_code < 300:
                return raw, answer
            seconds = None if last else self._waits(answer, method, attempt)
            if seconds is None or seconds > MOST_WAIT:
                raise Refused(answer.status_code, f"{what}: {self._refusal(answer, raw)}")
            sleep(seconds)
        raise InputError(f"{what}: {self.host} sends us round in circles; is {self.ADDRESS} right?")

    def _parsed(self, raw: bytes, what: str) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise InputError(
                f"{what}: the answer is no JSON; is {self.ADDRESS} right, and is a proxy in the way?"
            ) from None

    def _check_host(self, address: str, what: str) -> None:
        own, other = urlsplit(self.address), urlsplit(address)
        if (own.scheme, own.netloc) != (other.scheme, other.netloc):
            raise InputError(f"{what}: {self.host} sends us to another host, {other.netloc or 'none'}; not followed")

    def _read(self, answer: requests.Response, what: str) -> bytes:
        with answer:
            raw = bytearray()
            for block in answer.iter_content(2**16):
                raw += block
                if len(raw) > MOST_BYTES:
                    raise InputError(f"{what}: {self.host} answers with more than {MOST_BYTES // 2**20} MB")
        return bytes(raw)

    def _waits(self, answer: requests.Response, method: str, attempt: int) -> float | None:
        """Seconds until a request may be sent again; None: never."""
        if _limited(answer):
            return _seconds_left(answer)
        return 0.5 * 2**attempt if answer.status_code in _TROUBLED and method == "GET" else None

    def _trouble(self, error: requests.RequestException, method: str) -> str:
        saved = "or save the diff to a file and give that"
        if isinstance(error, requests.ConnectTimeout):
            return f"{self.host} cannot be reached within {TIMEOUT[0]:g} s; try later, {saved}"
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            if method == "POST":
                return f"{self.host} took the review and says nothing; look whether it is there before trying again"
            return f"{self.host} says nothing for {TIMEOUT[1]:g} s; try later, {saved}"
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self.host} cannot be trusted: {one_line(error)[:200]}"
        if method == "POST" and not isinstance(error, requests.exceptions.ProxyError) and "refused" not in str(error):
            return f"the connection to {self.host} broke; look whether the review is there before trying again"
        return f"{self.host} cannot be reached; is there a network, and is {self.ADDRESS} right? {saved.capitalize()}"

    def _refusal(self, answer: requests.Response, raw: bytes) -> str:
        status, said = answer.status_code, _said(raw)
        unset = f" ({self.without_token})" if self.without_token else ""
        saved = "or save the diff to a file and give that"
        if _limited(answer):
            minutes = max(1, round(_seconds_left(answer) / 60))
            more = "" if self.has_token else f", or set {self.TOKEN}: with a token far more is allowed"
            return f"{self.host} takes no more requests for about {minutes} min; try then{more}"
        if status == 401 and self.has_token:
            return f"{self.host} does not know the token in {self.TOKEN}; make a new one and set it"
        if status in (401, 403):
            verb = "wants a token" if status == 401 else "forbids it"
            return f"{self.host} {verb}{unset}: {said}; set {self.TOKEN} to a token that may do this, {saved}"
        if status == 404:
            return (
                f"{self.host} has no such thing, or not for this token{unset}; correct the name, set {self.TOKEN} to "
                f"one that may read it, {saved}"
            )
        if status in (400, 422):  # GitHub refuses a review for one of its comments
            return f"{self.host} refuses it{' whole' * (status == 422)}: {said}"
        if status in _MOVED:
            return f"{self.host} says that it has moved; give its new name"
        return f"{self.host} answers {status}: {said}; try later"


def _here(host: str) -> bool:
    return host in _LOOPBACK


def _limited(answer: requests.Response) -> bool:
    """Whether an answer says that there were too many requests."""
    spent = answer.headers.get("X-RateLimit-Remaining") == "0"
    return answer.status_code == 429 or (answer.status_code == 403 and (spent or "Retry-After" in answer.headers))


def _seconds_left(answer: requests.Response) -> float:
    for name, start in (("Retry-After", 0.0), ("X-RateLimit-Reset", now()), ("RateLimit-Reset", now())):
        told = answer.headers.get(name, "")
        if told.isdecimal() and len(told) < 16:
            return max(0.0, float(told) - start)
    return MOST_WAIT


def _said(raw: bytes) -> str:
    """The host's own words, as far as there are any, on one line."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return "without a word"
    told = [content.get(name) for name in ("message", "error", "error_description", "errors")]
    words = "; ".join(word for one in told for word in _words(one))
    return "".join(c if c.isprintable() else " " for c in words)[:300] or "without a word"


def _words(told: Any) -> list[str]:
    """Texts of an error: GitHub has lists of objects, GitLab lists of texts by field."""
    if isinstance(told, list):
        return [word for one in told for word in _words(one)]
    if not isinstance(told, dict):
        return [str(told)] if told else []
    if {"message", "code"} & told.keys():
        return _words(told.get("message") or told.get("code"))
    return [f"{name} {', '.join(_words(one))}" for name, one in told.items()]
