"""Refusals and failures as problem details (RFC 9457): one shape, what happened and what to do, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NotRequired, TypedDict

import msgspec
from aiohttp import web

from reconciler.engine.locks import LockHeld, LockLost
from reconciler.model.errors import (
    OutcomeUnknown,
    ReconcilerError,
    RegistryConflict,
    RegistryError,
    SourceError,
    UsageError,
)
from reconciler.model.query import QueryError

PROBLEM = "application/problem+json"
URN = "urn:reconciler:problem:"
RETRY_S = 5
MAX_DETAIL = 2_000


class PlaceShape(TypedDict):
    """Where in a parameter it stands, in characters."""

    parameter: str
    start: int
    length: int


class ProblemShape(TypedDict):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    hint: NotRequired[str]
    place: NotRequired[PlaceShape]


class Problem(Exception):
    """Ends a request with problem details. `code` ends its type, which programs may go by."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        place: PlaceShape | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.hint, self.place = status, code, detail, hint, place
        self.headers = dict(headers or {})

    def shape(self) -> ProblemShape:
        """What is answered."""
        made: ProblemShape = {
            "type": URN + self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail[:MAX_DETAIL],
        }
        if self.hint:
            made["hint"] = self.hint[:MAX_DETAIL]
        if self.place is not None:
            made["place"] = self.place
        return made


def of_problem(problem: Problem) -> web.Response:
    """The answer."""
    return web.Response(
        status=problem.status, body=msgspec.json.encode(problem.shape()), headers=problem.headers, content_type=PROBLEM
    )


def asked_wrongly(error: QueryError, parameter: str) -> Problem:
    """A query that cannot be meant, with its place."""
    place = PlaceShape(parameter=parameter, start=error.start, length=error.length) if error.text else None
    return Problem(400, "bad-query", error.problem, hint=error.hint, place=place)


def of_failure(error: ReconcilerError) -> Problem:
    """What a failure of the engine or a port answers."""
    retry = {"Retry-After": str(RETRY_S)}
    match error:
        case UsageError():
            return Problem(409, "refused", error.message, hint=error.hint)
        case LockHeld() | LockLost():
            return Problem(503, "busy", error.message, hint=error.hint, headers=retry)
        case RegistryConflict():
            return Problem(409, "changed-meanwhile", error.message, hint="look again, then decide again")
        case OutcomeUnknown():
            return Problem(504, "outcome-unknown", error.message, hint="look before you try again")
        case RegistryError() | SourceError():
            return Problem(503, "unavailable", error.message, hint=error.hint, headers=retry)
        case _:
            return Problem(409, "refused", error.message, hint=error.hint)
