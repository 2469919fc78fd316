"""The apply lock: one lease of the registry, so that two applies never work on one fleet at once.

There is no background task: whoever works under the lock calls `keep` before each effect and each wait, and it renews
when a third of the lease's time has gone. A holder that was away for too long finds out there, and writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.registry import Fence, Lease
from reconciler.ports import Clock, Registry

APPLY_LEASE = "apply"
TTL_MS = 30_000
WAIT_STEP_S = 0.5
TRIES = 3


class LockHeld(ReconcilerError):
    """Another apply works on this fleet."""


class LockLost(ReconcilerError):
    """The lock was lost while working under it: nothing more may be written."""


class Lock(Protocol):
    """What a run works under."""

    async def keep(self) -> None:
        """Renew when it is time; before each effect and each wait. Raises LockLost."""

    async def check(self) -> None:
        """Renew now. Raises LockLost."""

    def of(self, name: AgentName) -> Lock:
        """The same lock for the work on one agent."""

    def fences(self) -> tuple[Fence, ...]:
        """The leases that every write under this depends on. Raises LockLost where one is not held any more."""


class ApplyLock:
    """A lock that is held. `lease` is what fences writes: its epoch goes with every one of them.

    `asked` is when the lease was asked for (monotonic): between that and its answer a process may be stopped for long.
    """

    def __init__(self, registry: Registry, clock: Clock, lease: Lease, asked: float) -> None:
        self._registry = registry
        self._clock = clock
        self._renewing = asyncio.Lock()
        self._renewed = asked
        self.lease = lease

    def of(self, name: AgentName) -> ApplyLock:  # noqa: ARG002 - it is one for all agents
        """See Lock."""
        return self

    def fences(self) -> tuple[Fence, ...]:
        """See Lock."""
        return (Fence(lease=self.lease.name, epoch=self.lease.epoch),)

    async def keep(self) -> None:
        """Renew when it is time. Raises LockLost when somebody else has the lock now, or it cannot be known in time."""
        if self._held(TTL_MS / 3):
            return
        async with self._renewing:
            if not self._held(TTL_MS / 3):
                await self._renew()

    async def check(self) -> None:
        """Renew now. Raises LockLost."""
        async with self._renewing:
            await self._renew()

    def _held(self, for_ms: float) -> bool:
        """Whether it was renewed within so long, and nobody else can have it: on a machine that was suspended only the
        clock on the wall went on.
        """
        return self._age_ms() < for_ms and self._clock.now_ms() < self.lease.expires_ms

    def _age_ms(self) -> float:
        return (self._clock.monotonic() - self._renewed) * 1000

    async def _renew(self) -> None:
        """Once more where the answer came so late that it may say nothing any more of who has the lock."""
        for _ in range(TRIES):
            await self._ask()
            if self._age_ms() < TTL_MS * 2 / 3:
                return
        raise LockLost("the apply lock could not be renewed in time: each answer came too late", hint="apply again")

    async def _ask(self) -> None:
        asked = self._clock.monotonic()
        try:
            lease = await self._registry.acquire(
                self.lease.name, holder=self.lease.holder, ttl_ms=TTL_MS, now_ms=self._clock.now_ms()
            )
        except RegistryConflict as error:
            raise LockLost(f"the apply lock was lost: {error.message}", hint="apply again") from error
        except (RegistryError, OutcomeUnknown) as error:
            if self._held(TTL_MS * 2 / 3):
                return  # there is time for another try before anybody else can take it
            raise LockLost(f"the apply lock could not be renewed: {error.message}", hint="apply again") from error
        if lease.epoch != self.lease.epoch:
            with suppress(RegistryError, OutcomeUnknown):  # taken anew by asking: others need not wait for its end
                await self._registry.release(lease)
            raise LockLost(
                "the apply lock had expired, and another apply may have worked meanwhile", hint="apply again"
            )
        self.lease, self._renewed = lease, asked


@asynccontextmanager
async def apply_lock(
    registry: Registry,
    clock: Clock,
    *,
    holder: str,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
) -> AsyncIterator[ApplyLock]:
    """Hold the apply lock for the body of the `async with`.

    `holder` tells people who it is and since when. Waits up to `wait_s` seconds, telling `on_wait` once for whom.
    Raises LockHeld naming the holder when it stays held, RegistryError when the registry cannot be reached.
    """
    lock = await take(registry, clock, holder, wait_s, on_wait)
    try:
        yield lock
    finally:
        with suppress(RegistryError, OutcomeUnknown):  # it ends by itself
            await registry.release(lock.lease)


async def take(
    registry: Registry,
    clock: Clock,
    holder: str,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
) -> ApplyLock:
    """The fleet's lease, as `apply_lock` takes it."""
    until = clock.monotonic() + wait_s
    told = False
    unknown = 0
    while True:
        asked = clock.monotonic()
        try:
            lease = await registry.acquire(APPLY_LEASE, holder=holder, ttl_ms=TTL_MS, now_ms=clock.now_ms())
            return ApplyLock(registry, clock, lease, asked)
        except OutcomeUnknown:  # asking again is safe: the same holder gets the same lease
            unknown += 1
            if unknown > 3:
                raise
        except RegistryConflict as error:
            left = until - clock.monotonic()
            if left <= 0:
                raise LockHeld(
                    f"another apply holds this fleet: {error.message}",
                    hint="wait for it with RECONCILER_LOCK_TIMEOUT=2m, or `apply --lock-timeout 2m`; if that process "
                    "is gone, its lock ends by itself",
                ) from error
            if on_wait is not None and not told:
                told = True
                on_wait(error.message)
            await clock.sleep(min(WAIT_STEP_S, left))
