"""A bell between the daemons of a fleet: who hears of a push rings it, and all that look after the fleet ask Git.

It is a lease that nobody keeps. Each ring takes it and gives it back, so that its epoch counts the rings, in whatever
registry; who listens compares epochs. Says nothing of why it rang, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.model.errors import RegistryConflict
from reconciler.ports import Clock, Registry

BELL = "bell"
TTL_MS = 1000
"""How long a ring is held that nobody gave back."""
ATTEMPTS, AGAIN_S = 5, 0.3
"""Somebody else may ring at this moment: who listens may have heard that before what this ring is for."""


async def ring(registry: Registry, clock: Clock, who: str) -> None:
    """Ring. Raises RegistryError, RegistryConflict where others ring all the time."""
    holder = f"{who}, {registry.new_id()}"  # another one each time: a holder that comes again moves no epoch
    for attempt in range(1, ATTEMPTS + 1):
        try:
            lease = await registry.acquire(BELL, holder=holder, ttl_ms=TTL_MS, now_ms=clock.now_ms())
        except RegistryConflict:
            if attempt == ATTEMPTS:
                raise
            await clock.sleep(AGAIN_S)
        else:
            await registry.release(lease)
            return


async def listen(registry: Registry, clock: Clock, heard: Callable[[], None], pause_s: float) -> None:
    """Call `heard` when it rang since, until cancelled. Raises RegistryError."""
    known: int | None = None
    while True:
        rung = sum(lease.epoch for lease in await registry.leases(BELL) if lease.name == BELL)
        if known is not None and rung != known:
            heard()
        known = rung
        await clock.sleep(pause_s)
