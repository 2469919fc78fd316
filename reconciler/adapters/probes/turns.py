"""Whose turn it is: few probes at work at once, and many that only wait for an endpoint to say something.

A probe that has heard nothing for a moment costs no work, so it gives its turn to another one and waits aside.
Endpoints that hang hold up nobody, as long as there is room aside. Nobody waits for a turn for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

MOMENT_S = 0.01
PATIENCE_S = 10.0
"""As long may a probe wait for its turn."""


class NoTurn(Exception):
    """No turn came up in time."""


@dataclass(slots=True, eq=False)
class Turn:
    """One turn, from the moment that it comes up."""

    until: float
    held: bool = True
    aside: bool = False


@dataclass(slots=True, eq=False)
class _Waiting:
    called: asyncio.Future[None]
    until: float


@dataclass(slots=True, kw_only=True)
class Turns:
    """`at_once` turns, and room for `aside` who have given theirs to another.

    One timer serves all: who came first steps aside first, and is the first to lose patience.
    """

    at_once: int
    aside: int
    patience_s: float = PATIENCE_S
    _queue: deque[_Waiting] = field(default_factory=deque)
    _holding: deque[Turn] = field(default_factory=deque)
    _timer: asyncio.TimerHandle | None = None

    async def take(self) -> Turn:
        """Wait for a turn; it is given back by `give`. Raises NoTurn."""
        loop = asyncio.get_running_loop()
        if self.at_once > 0 and not self._queue:
            self.at_once -= 1
        else:
            await self._wait(loop)
        turn = Turn(loop.time() + MOMENT_S)
        self._holding.append(turn)
        self._watch(loop)
        return turn

    def give(self, turn: Turn) -> None:
        """Give a turn back."""
        turn.held = False
        if turn.aside:
            self.aside += 1
        else:
            self._next()

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = _Waiting(loop.create_future(), loop.time() + self.patience_s)
        self._queue.append(waiting)
        self._watch(loop)
        try:
            await waiting.called
        except asyncio.CancelledError:
            called = waiting.called
            if called.done() and not called.cancelled() and called.exception() is None:  # its turn had come
                self._next()
            raise

    def _next(self) -> None:
        while self._queue:
            called = self._queue.popleft().called
            if not called.done():
                called.set_result(None)
                return
        self.at_once += 1

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None:
            self._timer = loop.call_later(MOMENT_S, self._tick)

    def _tick(self) -> None:
        """Let those step aside who have had their moment, and those go who have waited too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        holding = self._holding
        while holding and (not holding[0].held or (holding[0].until <= now and self.aside > 0)):
            turn = holding.popleft()
            if turn.held:
                turn.aside = True
                self.aside -= 1
                self._next()
        while self._queue and (self._queue[0].until <= now or self._queue[0].called.done()):
            called = self._queue.popleft().called
            if not called.done():
                called.set_exception(NoTurn(f"no turn within {self.patience_s:g} s"))
        self._timer = None
        if holding or self._queue:
            self._watch(loop)
