"""Asking for now what would be done a little later anyway. No I/O; time is given."""

from __future__ import annotations

import asyncio

from reconciler.ports import Clock


class Nudge:
    """Coalesces: however often and by whomever it is asked for between two turns, one turn comes early."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def now(self) -> None:
        """Ask. Costs nothing when it is asked for already."""
        self._asked.set()

    async def pause(self, clock: Clock, seconds: float, *, least_s: float) -> bool:
        """Wait `seconds`, or less when asked, but at least `least_s`. Whether it was asked for."""
        await clock.sleep(min(least_s, seconds))
        asked = asyncio.create_task(self._asked.wait())
        over = asyncio.create_task(clock.sleep(max(0.0, seconds - least_s)))
        try:
            await asyncio.wait({asked, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            over.cancel()
            await asyncio.gather(asked, over, return_exceptions=True)
        was = self._asked.is_set()
        self._asked.clear()
        return was
