"""A clock that tests move: sleeping takes no time and advances it."""

from __future__ import annotations

import asyncio

from reconciler.adapters.clock import SystemClock

START_MS = 1_800_000_000_000


class FakeClock:
    """Implements ports.Clock. `sleep` advances both clocks and lets every other task run once."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._wall_ms = now_ms
        self._monotonic_ms = 0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self._wall_ms

    def monotonic(self) -> float:
        return self._monotonic_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        ms = round(max(0.0, seconds) * 1000)
        self._wall_ms += ms
        self._monotonic_ms += ms

    def jump(self, seconds: float) -> None:
        """Set the wall clock by `seconds`, backwards too, as an administrator or NTP does; monotonic time stays."""
        self._wall_ms += round(seconds * 1000)


class ShiftedClock(SystemClock):
    """The machine's clock, with its wall time put forward: waits take as long as they take."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the wall clock alone."""
        self._ahead_ms += round(seconds * 1000)
