"""The token of a page: a place in an order, as text that names it. Nothing secret, and nothing trusted."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Annotated

import msgspec

from reconciler.model.query import Query, QueryError, Value
from reconciler.query.facts import clean

MAX_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its values that it is ordered by (None: none), cut as the order says, and its name."""

    keys: tuple[Value | None, ...]
    namespace: str
    name: str


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    query: str
    keys: list[str | bool | float | None]
    namespace: str
    name: str
    now_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


_decoder = msgspec.json.Decoder(_Token)


def written(place: Place, query: Query) -> str:
    """The token of a place in the order of a query."""
    token = _Token(_digest(query), list(place.keys), place.namespace, place.name, query.now_ms)
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def read(text: str, query: Query) -> Place | None:
    """The place that a token names; None for "", the beginning. Raises QueryError for one of another query."""
    if not text:
        return None
    problem = QueryError(
        "the token to continue from is none of this query",
        hint="give it as the page before told it, with the same conditions and order, or start again without it",
    )
    token = _decoded(text)
    if token is None:
        raise problem
    texts = [token.namespace, token.name, *(key for key in token.keys if isinstance(key, str))]
    if token.query != _digest(query) or len(token.keys) != len(query.order) or any(clean(one) != one for one in texts):
        raise problem
    return Place(tuple(token.keys), token.namespace, token.name)


def moment(text: str) -> int:
    """The moment that the query was asked of whose page a token closes; 0 where it does not matter, or is not said."""
    token = _decoded(text)
    return token.now_ms if token is not None else 0


def _decoded(text: str) -> _Token | None:
    if len(text) > MAX_TOKEN or not text.isascii():
        return None
    try:
        return _decoder.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return None


def _digest(query: Query) -> str:
    return hashlib.sha256(repr(query).encode("utf-8", "surrogatepass")).hexdigest()[:16]
