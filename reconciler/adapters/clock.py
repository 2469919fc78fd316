"""The machine's clock behind the Clock port. Nothing else reads time for the engine."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall time from the operating system, waits by its monotonic clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
