"""Requests that are made twice and done once: by their Idempotency-Key, a day long, in this daemon's memory."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from reconciler.daemon.http.problems import Problem

AGE_S = 24 * 3600.0
_KEY = re.compile(r"[!-~]{1,200}\Z")


@dataclass(slots=True)
class _Done:
    digest: bytes
    at: float
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[web.Response] | None = None


def _heeded(task: asyncio.Task[web.Response]) -> None:
    """What it ended with is its caller's, who may have gone: then it is nobody's, and no fault."""
    if not task.cancelled():
        task.exception()


@dataclass(slots=True, kw_only=True)
class Repeats:
    """Answers that were given; of more than `most` the oldest is forgotten, and what failed is not kept."""

    monotonic: Callable[[], float]
    age_s: float = AGE_S
    most: int
    _known: OrderedDict[tuple[str, str], _Done] = field(default_factory=OrderedDict)

    async def once(
        self, caller: str, keys: Sequence[str], what: tuple[str, str, bytes], do: Callable[[], Awaitable[web.Response]]
    ) -> web.Response:
        """Do it, or answer as it was answered; without keys each time. Raises Problem, and what `do` raises."""
        if not keys:
            return await do()
        key = keys[0]
        if len(keys) > 1 or not _KEY.match(key):
            raise Problem(
                400, "bad-parameter", "Idempotency-Key: one, of 1 to 200 printable characters of ASCII, no spaces"
            )
        self._forget()
        digest = hashlib.sha256(repr(what).encode()).digest()
        known = self._known.get((caller, key))
        if known is not None:
            return await self._again(known, digest)
        made = self._known[caller, key] = _Done(digest, self.monotonic())
        # It goes on when its caller waits no longer: who asks again with its key then gets what comes of it.
        made.task = asyncio.create_task(self._do(made, (caller, key), do))
        made.task.add_done_callback(_heeded)
        return await asyncio.shield(made.task)

    async def _do(self, made: _Done, at: tuple[str, str], do: Callable[[], Awaitable[web.Response]]) -> web.Response:
        try:
            answer = await do()
            made.status, made.body = answer.status, bytes(answer.body) if isinstance(answer.body, bytes) else b""
            made.headers = {
                name: answer.headers[name] for name in ("Content-Type", "Location") if name in answer.headers
            }
        except BaseException:
            self._known.pop(at, None)
            raise
        finally:
            made.over.set()
        return answer

    async def _again(self, known: _Done, digest: bytes) -> web.Response:
        if known.digest != digest:
            raise Problem(409, "key-reused", "this Idempotency-Key was used for another request")
        await known.over.wait()
        if not known.status:
            raise Problem(409, "failed-before", "the request with this Idempotency-Key failed just now: ask again")
        return web.Response(
            status=known.status, body=known.body, headers={**known.headers, "Idempotent-Replayed": "true"}
        )

    def _forget(self) -> None:
        now = self.monotonic()
        while self._known:
            _key, oldest = next(iter(self._known.items()))
            if len(self._known) < self.most and now - oldest.at <= self.age_s:
                return
            self._known.popitem(last=False)

    def __len__(self) -> int:
        return len(self._known)
