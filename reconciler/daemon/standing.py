"""Who of several daemons acts: the holder of a lease in the registry. All others stand by and do nothing.

A lease alone fences nothing: what a leader that was away for too long still writes is refused by the epoch of the apply
lock, under which all changes are made. It stops by itself before its lease can end, by its monotonic clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from reconciler.daemon.telling import Teller
from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryConflict
from reconciler.model.registry import Lease
from reconciler.ports import Clock, Registry

LEADER_LEASE = "daemon"
TTL_S = 15.0
STEP_S = 3.0


@dataclass(slots=True, kw_only=True)
class Standing:
    """One daemon's standing in `registry`; `holder` names it for people and tells it from all others."""

    registry: Registry
    clock: Clock
    holder: str
    tell: Teller
    changed: Callable[[bool], None]
    """Told whenever it begins or ends to lead."""
    leads: bool = False

    async def lead(self, work: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
        """Wait to become the leader, then `work(over)` until it ends; `over` is set when the lease cannot be held or
        `stop` is set. Answers when the work has ended, or `stop` is set before it began.
        """
        lease = await self._elected(stop)
        if lease is None:
            return
        self._set(leads=True)
        self.tell.say("info", "leads", epoch=lease.epoch)
        over = asyncio.Event()
        keeper = asyncio.create_task(self._keep(lease, over, stop))
        try:
            await work(over)
        finally:
            self._set(leads=False)
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            with suppress(ReconcilerError):
                await self.registry.release(lease)

    def _set(self, *, leads: bool) -> None:
        self.leads = leads
        self.changed(leads)

    async def _elected(self, stop: asyncio.Event) -> Lease | None:
        told = ""
        while not stop.is_set():
            try:
                return await self._acquire()
            except (ReconcilerError, OutcomeUnknown) as error:
                if error.message != told:
                    told = error.message
                    self.tell.say("info", "stands-by", reason=told)
            with suppress(TimeoutError):
                async with asyncio.timeout(STEP_S):
                    await stop.wait()
        return None

    async def _keep(self, lease: Lease, over: asyncio.Event, stop: asyncio.Event) -> None:
        """Renew until that fails for too long, or somebody else leads."""
        renewed = self.clock.monotonic()
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(STEP_S):
                    await stop.wait()
            asked = self.clock.monotonic()
            try:
                if (await self._acquire()).epoch == lease.epoch:
                    renewed = asked
                    continue
                reason = "the lease had ended, and another daemon may have led meanwhile"
            except RegistryConflict as error:
                reason = error.message
            except (ReconcilerError, OutcomeUnknown) as error:
                if self.clock.monotonic() - renewed < TTL_S * 2 / 3:
                    continue
                reason = error.message
            self.tell.say("warning", "leads-no-more", reason=reason)
            break
        over.set()

    async def _acquire(self) -> Lease:
        return await self.registry.acquire(
            LEADER_LEASE, holder=self.holder, ttl_ms=round(TTL_S * 1000), now_ms=self.clock.now_ms()
        )
