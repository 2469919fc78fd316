"""Faults on demand, set from Python by a test: which request they meet, and what becomes of it.

Cut before: the server does nothing. Cut after: it does all, and the client never hears. Cut during: the client gets
half an answer. Also delays, 503, and answers that never come.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import web

from tests.doubles.arango.call import Answer
from tests.doubles.arango.errors import ArangoError


class Kind(Enum):
    CUT_BEFORE = "the connection breaks before anything is done"
    CUT_DURING = "the connection breaks in the middle of the answer"
    CUT_AFTER = "all is done, and the connection breaks before the answer"
    UNAVAILABLE = "503 with errorNum 503: nothing is done"
    ERROR = "an error of ArangoDB's: nothing is done"
    DELAY = "the answer comes late"
    HANG_BEFORE = "nothing is done, and no answer comes until `release`"
    HANG_AFTER = "all is done, and no answer comes until `release`"


@dataclass(eq=False, slots=True)
class Fault:
    """Meets requests of `method` whose path matches `path` and whose body contains `body`.

    `times` of them, after `skip` others. `error` is for Kind.ERROR, `seconds` for Kind.DELAY; `met` counts.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    body: str = ""
    skip: int = 0
    times: int = 1
    error: int = 4
    seconds: float = 0.0
    met: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def meets(self, method: str, path: str, body: bytes) -> bool:
        return (
            self.method in ("", method)
            and re.search(self.path, path) is not None
            and self.body.encode() in body
            and self.times > 0
        )


class Faults:
    def __init__(self) -> None:
        self.planned: list[Fault] = []

    def take(self, method: str, path: str, body: bytes) -> Fault | None:
        """The first fault that this request meets."""
        for fault in self.planned:
            if fault.meets(method, path, body):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                fault.met += 1
                return fault
        return None

    async def before(self, fault: Fault, request: web.Request) -> Answer | web.Response | None:
        """What happens before the request is done; an answer stands for it."""
        match fault.kind:
            case Kind.CUT_BEFORE:
                cut(request)
                return web.Response()
            case Kind.UNAVAILABLE:
                error = ArangoError(503, "service unavailable")
                return Answer(503, error.body())
            case Kind.ERROR:
                error = ArangoError(fault.error)
                return Answer(error.http, error.body())
            case Kind.DELAY:
                await asyncio.sleep(fault.seconds)
            case Kind.HANG_BEFORE:
                await fault.released.wait()
                cut(request)
                return web.Response()
        return None

    async def after(self, fault: Fault, request: web.Request) -> None:
        if fault.kind is Kind.CUT_AFTER:
            cut(request)
        elif fault.kind is Kind.HANG_AFTER:
            await fault.released.wait()
            cut(request)

    async def during(self, fault: Fault, request: web.Request, response: web.Response) -> bool:
        """Send half of the answer and break off; whether that was done."""
        if fault.kind is not Kind.CUT_DURING:
            return False
        body = response.body if isinstance(response.body, bytes) else b""
        half = web.StreamResponse(status=response.status, headers=response.headers)
        half.content_length = len(body)
        await half.prepare(request)
        await half.write(body[: len(body) // 2])
        await asyncio.sleep(0)
        if request.transport is not None:
            request.transport.close()
        return True


def cut(request: web.Request) -> None:
    """Break the connection with a reset."""
    transport = request.transport
    if transport is None:
        return
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
