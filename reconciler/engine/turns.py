"""How many agents are changed at once: few write to clusters, more wait for their pods to start or to end. No I/O.

A pod takes seconds to start and a write takes milliseconds: who only waits keeps nobody from writing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

WAITING_EACH = 10
"""How many are under way for each that writes."""


class Turn:
    """The turn of one agent to write. It ends once, by itself or when it is given back earlier."""

    def __init__(self, slots: asyncio.Semaphore | None = None) -> None:
        self._slots = slots

    def end(self) -> None:
        """Let the next one write."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release()


class Turns:
    """Turns of `parallelism` agents at once, first come, first served. One at once is one to its very end."""

    def __init__(self, parallelism: int) -> None:
        at_once = max(1, parallelism)
        self._writing = asyncio.Semaphore(at_once)
        self._under_way = asyncio.Semaphore(at_once * WAITING_EACH if at_once > 1 else 1)

    @asynccontextmanager
    async def one(self, stop: asyncio.Event | None = None) -> AsyncIterator[Turn]:
        """Wait for a turn; the agent is under way to the end of the block, and its turn may end before.

        Who is told to `stop` waits no longer, and is to begin nothing.
        """
        if not await _acquired(self._under_way, stop):
            yield Turn()
            return
        async with AsyncExitStack() as stack:
            stack.callback(self._under_way.release)
            if not await _acquired(self._writing, stop):
                yield Turn()
                return
            turn = Turn(self._writing)
            stack.callback(turn.end)
            yield turn


async def _acquired(slots: asyncio.Semaphore, stop: asyncio.Event | None) -> bool:
    """Wait for a slot; whether there is one, or it was told to stop before."""
    if stop is None or not slots.locked():
        await slots.acquire()
        return True
    waiting, told = asyncio.create_task(slots.acquire()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({waiting, told}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return True
    except BaseException:
        if waiting.done() and not waiting.cancelled():
            slots.release()
        raise
    finally:
        told.cancel()
        waiting.cancel()
    return False
