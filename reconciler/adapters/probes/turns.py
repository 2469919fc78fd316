"""Whose turn it is: few probes at work at once, and many that only wait for an endpoint to say something.

A probe that has heard nothing for a moment costs no work, so it gives its turn to another one and waits aside.
Endpoints that hang hold up nobody, as long as there is room aside.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

MOMENT_S = 0.01


class Turns:
    """`at_once` turns, and room for `aside` who have given theirs to another."""

    def __init__(self, at_once: int, aside: int) -> None:
        self._free = at_once
        self._room = aside
        self._queue: deque[asyncio.Future[None]] = deque()

    def turn(self) -> Turn:
        """One turn, to be used in `async with`."""
        return Turn(self)

    async def _take(self) -> None:
        if self._free > 0 and not self._queue:
            self._free -= 1
            return
        called = asyncio.get_running_loop().create_future()
        self._queue.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        while self._queue:
            called = self._queue.popleft()
            if not called.done():
                called.set_result(None)
                return
        self._free += 1

    def _step_aside(self) -> bool:
        if self._room <= 0:
            return False
        self._room -= 1
        self._give()
        return True

    def _come_back(self) -> None:
        self._room += 1


class Turn:
    """Held from the moment that it comes up."""

    __slots__ = ("_aside", "_timer", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._aside = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._turns._take()  # noqa: SLF001 - a turn is a part of its turns
        self._timer = asyncio.get_running_loop().call_later(MOMENT_S, self._patience)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._aside:
            self._turns._come_back()  # noqa: SLF001
        else:
            self._turns._give()  # noqa: SLF001

    def _patience(self) -> None:
        self._aside = self._turns._step_aside()  # noqa: SLF001
        if not self._aside:
            self._timer = asyncio.get_running_loop().call_later(MOMENT_S, self._patience)
