"""An HTTP/1.1 answer as it comes in, bytes to status and body, with caps on all that a server may send. No I/O.

llhttp reads it, strictly but for line ends, where kubelets and browsers are lenient too. Redirects, cookies, encodings
and upgrades are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import httptools

MAX_BODY = 256 * 1024
"""A card may be this large; of other bodies more is simply not read."""
MAX_HEADERS = 32 * 1024
"""All that comes before a body, interim answers too."""
MAX_AFTER = 2 * MAX_BODY
"""All that comes after the headers: bodies may be sent in pieces, each with words of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body; `whole`: nothing of the body is missing."""

    status: int
    body: bytes
    whole: bool


class NoHttp(OSError):
    """What came is not HTTP, or too much of it."""


class HungUp(OSError):
    """The endpoint ended the connection before its answer was whole. `unheard`: before a single byte of it."""

    def __init__(self, *, unheard: bool) -> None:
        super().__init__("it hung up before its answer was whole")
        self.unheard = unheard


class Hearing:
    """Hears one answer. `again`: another may follow on the same connection."""

    __slots__ = (
        "_body", "_complete", "_framed", "_heard", "_lasting", "_parser", "_size", "_status", "_stray", "_to_body",
        "again",
    )  # fmt: skip

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._body: list[bytes] = []
        self._heard = self._to_body = self._size = self._status = 0
        self._complete = self._framed = self._lasting = self._stray = False
        self.again = False

    @property
    def silent(self) -> bool:
        """Nothing has come yet."""
        return not self._heard

    def feed(self, data: bytes) -> Answer | None:
        """Take what came: the answer when it is complete or enough of it is there. Raises NoHttp."""
        self._heard += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return Answer(self._parser.get_status_code(), b"", whole=True)
        except httptools.HttpParserError as error:
            if not self._complete:
                raise NoHttp(f"what it answers is no HTTP: {error}") from None
            self._stray = True
        if self._complete:
            self.again = self._lasting and not self._stray
            return self._answer(whole=True)
        if not self._status:
            if self._heard > MAX_HEADERS:
                raise NoHttp(f"its headers are larger than {MAX_HEADERS // 1024} KiB")
        elif self._size > MAX_BODY or self._heard - self._to_body > MAX_AFTER:
            return self._answer(whole=False)
        return None

    def ended(self) -> Answer | None:
        """The connection ended: the answer, where its body lasts until then."""
        return self._answer(whole=True) if self._status and not self._framed else None

    def _answer(self, *, whole: bool) -> Answer:
        return Answer(self._status, b"".join(self._body), whole)

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self._stray = self._complete  # more than was asked for
        self._framed = False

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._framed = self._framed or name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._complete:  # below it is an interim answer: the real one follows
            self._status, self._to_body = status, self._heard

    def on_body(self, data: bytes) -> None:
        if self._size <= MAX_BODY and not self._complete:
            self._body.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        if self._status and not self._complete:
            self._complete, self._lasting = True, self._parser.should_keep_alive()
