"""The apply lock, held together by daemons that have divided a fleet into shards.

The fleet's lease is held in the name of the division, which all of them renew as one holder: so an apply by hand, and
daemons of another division, are kept out, and what is left of this one is fenced off when they come in. What tells the
daemons from each other is the lease of each shard. Every write depends on both: on the fleet's, and on that of the
shard whose agent it is about; what is about the fleet as a whole, on all shards that the writer holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from reconciler.engine.locks import TTL_MS, ApplyLock, LockLost, take
from reconciler.model.errors import OutcomeUnknown, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import Fence
from reconciler.ports import Clock, Registry

WORKING = "working/"
"""How the leases are named that tell who of a division works now: the last to stop gives the fleet up."""


class ShardLost(LockLost):
    """The shard of one agent is another daemon's: nothing more may be written about it. The others are not touched."""


class Shards(Protocol):
    """Which shards this daemon holds."""

    @property
    def division(self) -> str:
        """What all daemons are called together that have divided the fleet in this way."""

    @property
    def seat(self) -> str:
        """What this one of them is called."""

    def mine(self, name: AgentName) -> bool:
        """Whether this daemon looks after an agent now."""

    @property
    def speaks(self) -> bool:
        """Whether it is this one of them that writes down which commit the fleet was brought to."""

    def fence(self, name: AgentName) -> Fence:
        """The lease of an agent's shard. Raises ShardLost where it is not held for certain."""

    def fences(self) -> tuple[Fence, ...]:
        """The leases of all shards that are held for certain. Raises ShardLost without any."""


class SharedLock:
    """Implements engine.locks.Lock. `name` is the agent that it is for, None for what is about the fleet."""

    def __init__(self, fleet: ApplyLock, works: ApplyLock, shards: Shards, name: AgentName | None = None) -> None:
        self._fleet, self._works, self._shards, self._name = fleet, works, shards, name

    async def keep(self) -> None:
        """See Lock."""
        await self._fleet.keep()
        await self._works.keep()
        self.fences()

    async def check(self) -> None:
        """See Lock."""
        await self._fleet.check()
        self.fences()

    def of(self, name: AgentName) -> SharedLock:
        """See Lock."""
        return SharedLock(self._fleet, self._works, self._shards, name)

    def fences(self) -> tuple[Fence, ...]:
        """See Lock."""
        own = self._shards.fences() if self._name is None else (self._shards.fence(self._name),)
        return *self._fleet.fences(), *own


@asynccontextmanager
async def shared_lock(registry: Registry, clock: Clock, shards: Shards) -> AsyncIterator[SharedLock]:
    """Hold the apply lock together with the others of the division.

    Raises LockHeld while an apply by hand or another division has it, RegistryError.
    """
    # said first: who stops meanwhile sees that somebody works
    asked = clock.monotonic()
    mark = await registry.acquire(WORKING + shards.seat, holder=shards.seat, ttl_ms=TTL_MS, now_ms=clock.now_ms())
    works = ApplyLock(registry, clock, mark, asked)
    try:
        fleet = await take(registry, clock, shards.division)
        try:
            yield SharedLock(fleet, works, shards)
        finally:
            await _stop(registry, clock, fleet, works)
    finally:
        with suppress(RegistryError, OutcomeUnknown):  # it ends by itself
            await registry.release(works.lease)


async def _stop(registry: Registry, clock: Clock, fleet: ApplyLock, works: ApplyLock) -> None:
    """Give the fleet up where nobody else of the division works."""
    with suppress(RegistryError, OutcomeUnknown):
        await registry.release(works.lease)
        now = clock.now_ms()
        if not any(one.holder and one.expires_ms > now for one in await registry.leases(WORKING)):
            await registry.release(fleet.lease)
