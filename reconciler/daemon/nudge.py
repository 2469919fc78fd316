"""Asking for now what would be done a little later anyway: however often, once, and not too often."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

LEAST_S = 2.0


@dataclass(slots=True)
class Nudge:
    """Sets `asked` when somebody asks, at most every `least_s` seconds: who asks sooner is heard at the end of them."""

    least_s: float = LEAST_S
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _last: float | None = None
    _later: asyncio.TimerHandle | None = None

    def now(self) -> None:
        """Ask. Costs nothing where it is asked for already."""
        loop = asyncio.get_running_loop()
        if self._later is not None:
            return
        wait = 0.0 if self._last is None else self._last + self.least_s - loop.time()
        if wait > 0:
            self._later = loop.call_later(wait, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        self._last, self._later = asyncio.get_running_loop().time(), None
        self.asked.set()
