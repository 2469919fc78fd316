"""Who of several daemons acts: the holder of a lease in the registry. All others stand by and do nothing.

A lease alone fences nothing: what a leader that was away for too long still writes is refused by the epoch of the apply
lock, under which all changes are made. It stops by itself before its lease can end, by its monotonic clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from reconciler.daemon.telling import Teller, unhurried
from reconciler.model.errors import ReconcilerError, RegistryConflict
from reconciler.model.registry import Lease
from reconciler.ports import Clock, Registry

T = TypeVar("T")
LEADER_LEASE = "daemon"
TTL_S = 15.0
STEP_S = 3.0
GIVE_UP_S = 3.0
"""Who ends tries for so long to say that others may begin; then its leases end by themselves."""
PART = 2 / 3
"""Of the lease's time: who could not renew for so long acts no more."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """One daemon's standing in `registry`; `holder` names it for people and tells it from all others."""

    registry: Registry
    clock: Clock
    holder: str
    tell: Teller
    changed: Callable[[bool], None]
    """Told whenever it begins or ends to lead."""
    blind: Callable[[str], None] = lambda _problem: None
    """Told when it stands by because the registry cannot be asked, and why; "" when it could be."""
    behind: Callable[[], None] = lambda: None
    """Told when it stands by because another one leads."""
    leads: bool = False
    _held: Lease | None = None
    """What is given back once the work has ended."""

    async def lead(self, work: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
        """Wait to become the leader, then `work(over)` until it ends; `over` is set when the lease cannot be held or
        `stop` is set. Answers when the work has ended, or `stop` is set before it began.
        """
        elected = await self._elected(stop)
        if elected is None:
            return
        lease, asked = elected
        self._held = lease
        self._set(leads=True)
        self.tell.say("info", "leads", epoch=lease.epoch)
        over = asyncio.Event()
        keeper = asyncio.create_task(self._keep(lease, asked, over, stop))
        try:
            await work(over)
        finally:
            self._set(leads=False)
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._give_up(self._held)

    async def _give_up(self, lease: Lease) -> None:
        """Let the next one lead at once. Where that cannot be said in a moment, the lease ends by itself."""
        with suppress(ReconcilerError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                await self.registry.release(lease)

    def _set(self, *, leads: bool) -> None:
        self.leads = leads
        self.changed(leads)

    async def _elected(self, stop: asyncio.Event) -> tuple[Lease, float] | None:
        """The lease, and when it was asked for (monotonic)."""
        told = ""
        while not stop.is_set():
            asked = self.clock.monotonic()
            try:
                lease = await self._acquire(TTL_S * PART)
            except (ReconcilerError, TimeoutError) as error:
                reason = reason_of(error)
                self._stands_by(error, reason)
                if unhurried(reason) != told:
                    told = unhurried(reason)
                    self.tell.say("info", "stands-by", reason=reason)
            else:
                self.blind("")
                if not stop.is_set():
                    return lease, asked
                await self._give_up(lease)
            await either(stop, STEP_S)
        return None

    def _stands_by(self, error: ReconcilerError | TimeoutError, reason: str) -> None:
        if isinstance(error, RegistryConflict):
            self.blind("")
            self.behind()
        else:
            self.blind(reason)

    async def _keep(self, lease: Lease, asked: float, over: asyncio.Event, stop: asyncio.Event) -> None:
        """Renew until asked to stop, or until it cannot be known any more that nobody else leads. Ends in `over`."""
        try:
            if reason := await self._kept(lease, asked, stop):
                self.tell.say("warning", "leads-no-more", reason=reason)
        except Exception as error:
            self.tell.say("error", "leads-no-more", reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            over.set()

    async def _kept(self, lease: Lease, renewed: float, stop: asyncio.Event) -> str:
        """Why the lease is held no more; "" when asked to stop. `renewed`: when it was last asked for with success."""
        while True:
            await either(stop, STEP_S)
            if stop.is_set():
                return ""
            asked = self.clock.monotonic()
            try:
                again = await self._acquire(TTL_S * PART - (asked - renewed))
            except RegistryConflict as error:
                return error.message
            except (ReconcilerError, TimeoutError) as error:
                if self.clock.monotonic() - renewed >= TTL_S * PART:
                    return reason_of(error)
                continue
            if again.epoch != lease.epoch:
                self._held = again  # taken anew by asking: others need not wait for its end
                return "the lease had ended, and another daemon may have led meanwhile"
            renewed = asked

    async def _acquire(self, within_s: float) -> Lease:
        """Raises TimeoutError as well: a registry that does not answer is asked no longer than the answer is of use."""
        async with asyncio.timeout(max(0.0, within_s)):
            return await self.registry.acquire(
                LEADER_LEASE, holder=self.holder, ttl_ms=round(TTL_S * 1000), now_ms=self.clock.now_ms()
            )


def reason_of(error: ReconcilerError | TimeoutError) -> str:
    """Why the registry could not be asked, for people."""
    return "the registry does not answer" if isinstance(error, TimeoutError) else error.message


async def unless(over: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """What `work` answers; None when it is `over` before: then the work is ended, wherever it waits."""
    working, ended = asyncio.create_task(work), asyncio.create_task(over.wait())
    try:
        await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        ended.cancel()
        await asyncio.gather(working, ended, return_exceptions=True)


async def either(stop: asyncio.Event, seconds: float) -> None:
    """Wait until `stop` is set, at most `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
