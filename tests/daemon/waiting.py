"""Waiting for what others do, which sets no event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENTLY_S = 120.0
"""So long is waited for what is sure to come: a machine may be busy, and a test that waits costs nothing."""


async def until(look: Callable[[], object], within_s: float = PATIENTLY_S) -> None:
    """Wait until `look` finds something. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not look():  # noqa: ASYNC110 - what is waited for is another's doing, and sets no event
            await asyncio.sleep(0.005)
