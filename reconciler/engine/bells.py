"""Who waits for which object of a cluster, and is woken when it changes. No I/O; an event only says "look again".

A bell that never rings costs time and nothing else: whoever waits looks by itself now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from reconciler.model.identity import ObjectRef
from reconciler.ports import Clock

_Key = tuple[str, ObjectRef]


class Bells:
    """One for each object that is waited for. `followed` names the clusters whose changes ring them."""

    def __init__(self) -> None:
        self.followed: set[str] = set()
        self._waiting: dict[_Key, set[asyncio.Event]] = {}

    def ring(self, cluster: str, ref: ObjectRef) -> None:
        """Wake whoever waits for an object."""
        for bell in self._waiting.get((cluster, ref), ()):
            bell.set()

    @contextmanager
    def listening(self, keys: Iterable[_Key]) -> Iterator[asyncio.Event | None]:
        """An event that is set when one of several objects changes; None where nobody would ring for all of them."""
        watched = frozenset(keys)
        if not watched or any(cluster not in self.followed for cluster, _ in watched):
            yield None
            return
        bell = asyncio.Event()
        for key in watched:
            self._waiting.setdefault(key, set()).add(bell)
        try:
            yield bell
        finally:
            for key in watched:
                self._waiting[key].discard(bell)
                if not self._waiting[key]:
                    del self._waiting[key]


async def rung(bell: asyncio.Event | None, clock: Clock, seconds: float) -> None:
    """Wait until a bell rings, for `seconds` at most; without a bell for all of them."""
    if bell is None:
        await clock.sleep(seconds)
        return
    waits = (asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(bell.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
