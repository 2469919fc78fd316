"""Waiting for what others do, which sets no event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(look: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait until `look` finds something. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not look():  # noqa: ASYNC110 - what is waited for is another's doing, and sets no event
            await asyncio.sleep(0.005)
