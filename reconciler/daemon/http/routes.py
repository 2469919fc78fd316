"""What a route is: its path, who may ask, what it takes and answers. The server, the checks of what is asked and the
OpenAPI document are all made of these declarations, so there is no second list of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from reconciler.daemon.http.access import Caller, Right
from reconciler.daemon.http.inside import Inside
from reconciler.daemon.http.problems import Problem
from reconciler.model.identity import AgentName

Q = TypeVar("Q")
LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered: a JSON value, or text where the route says so."""

    value: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that may be made, read and checked."""

    request: web.Request
    inside: Inside
    caller: Caller
    asked: Any
    """The query, as the route's type of it."""
    given: Any
    """The body, as the route's type of it."""

    @property
    def agent(self) -> AgentName:
        """The agent that the path names."""
        return AgentName(namespace=self.request.match_info["namespace"], name=self.request.match_info["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`right` None: anybody may. `asked` and `given` are msgspec Structs of the query and the body, `answers` a type
    of the JSON value, or str for plain text. `problems` are the statuses of its own, besides those that any has.
    """

    method: str
    path: str
    name: str
    summary: str
    text: str = ""
    right: Right | None
    handle: Callable[[Call], Awaitable[Answer]]
    asked: type | None = None
    given: type | None = None
    given_raw: bool = False
    """The handler reads the body by itself."""
    answers: Any = str
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)
    """Other statuses that mean that it went well, and what they mean."""
    problems: Mapping[int, str] = field(default_factory=dict)
    exempt: bool = False
    """No client is slowed down: what probes ask has to be answered whatever others do."""

    @property
    def pattern(self) -> str:
        """The path as the router takes it."""
        path = self.path.replace("{namespace}", "{namespace:" + LABEL + "}")
        return path.replace("{name}", "{name:" + NAME + "}")


def read_query(request: web.Request, kind: type[Q]) -> Q:
    """The query's parameters, each at most once. Raises Problem."""
    twice = [name for name, times in Counter(name for name, _value in request.query.items()).items() if times > 1]
    if twice:
        raise Problem(400, "bad-parameter", f"{twice[0][:60]!r} is given more than once")
    try:
        return msgspec.convert(dict(request.query), type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, "bad-parameter", str(error), hint="/openapi.json says what there is") from None


def read_body(request: web.Request, body: bytes, kind: type[Q]) -> Q:
    """The body, which is JSON. Raises Problem."""
    if not body and request.content_type != JSON:  # clients name some type where they send nothing
        body = b"{}"
    elif request.content_type != JSON:
        raise Problem(415, "not-json", "a body is application/json here", hint=f"send `Content-Type: {JSON}`")
    try:
        value = msgspec.json.decode(body)
        if isinstance(value, dict):  # to JSON 6.0 is the whole number 6
            value = {
                key: int(one) if isinstance(one, float) and one.is_integer() else one for key, one in value.items()
            }
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise Problem(422, "bad-body", str(error), hint="/openapi.json says what there is") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "not-json", f"the body is no JSON: {str(error)[:200]}") from None


def encoded(value: Any) -> bytes:
    """A JSON value as bytes."""
    return msgspec.json.encode(value) if not isinstance(value, str) else json.dumps(value).encode()
