"""Which shards of a fleet this daemon looks after: leases in the registry, shared out among the daemons that live.

A daemon takes a seat, looks who else sits, and holds the leases of the shards that fall to its seat (model.shards).
Who comes or goes is seen by all in a few seconds, and what falls to another seat is stopped where it is and handed
over. A lease alone fences nothing: every write carries the epoch of its shard's (engine.shardlocks). A shard that could
not be renewed in time is given up by the monotonic clock, before its lease can end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.daemon import standing
from reconciler.daemon.standing import either, reason_of
from reconciler.daemon.telling import Teller, unhurried
from reconciler.engine.shardlocks import ShardLost
from reconciler.model.errors import ReconcilerError, RegistryConflict
from reconciler.model.identity import AgentName
from reconciler.model.registry import Fence, Lease
from reconciler.model.shards import assigned, shard_of
from reconciler.ports import Clock, Registry


@dataclass(slots=True)
class _Held:
    """A lease that is held, and when it was last asked for with success (monotonic)."""

    lease: Lease
    asked: float


async def _nothing_under_way() -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Sharding:
    """One daemon's shards, of `count`; `holder` names it for people and tells it from all others.

    Implements engine.shardlocks.Shards. `taken` is called when a shard came. `hand_over` is called when one goes: it
    stops the work on agents that are not this daemon's any more, and answers when that has ended. `changed` hears
    whether it leads any.
    """

    registry: Registry
    clock: Clock
    holder: str
    count: int
    tell: Teller
    changed: Callable[[bool], None]
    taken: Callable[[], None] = lambda: None
    hand_over: Callable[[], Awaitable[None]] = _nothing_under_way
    blind: Callable[[str], None] = lambda _problem: None
    """Told when it stands by because the registry cannot be asked, and why; "" when it could be."""
    behind: Callable[[], None] = lambda: None
    """Told when it stands by because others have all there is."""
    counted: Callable[[int, int], None] = lambda _held, _of: None
    """Told how many shards are held, and of how many, whenever that may have changed."""
    known: Callable[[], Collection[str]] = lambda: ()
    """Seats at which something was kept here (daemon.alarming), by name: who was killed comes back to its own."""
    leads: bool = False
    others: tuple[str, ...] = ()
    """What each of the other daemons that live says: see daemon.doubting.Peers."""
    _says: str = ""
    _said: str = ""
    """What this one says with its seat, and what it said when it last took or renewed it."""
    _seat: tuple[int, _Held] | None = None
    _patient_until: float | None = None
    """Until when no seat is taken but one that is known (monotonic): the lease of who was killed lasts so long."""
    _shards: dict[int, _Held] = field(default_factory=dict)
    _leaving: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """Shards that fall to another seat, while the work on their agents ends: renewed still, and begun nothing in."""
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    """What ends the work on shards that were lost: nobody who renews waits for it."""

    @property
    def division(self) -> str:
        """See Shards."""
        return f"the daemons of {self.count} shards"

    @property
    def seat(self) -> str:
        """See Shards."""
        return self._seat_name(self._seat[0] if self._seat is not None else "?")

    @property
    def speaks(self) -> bool:
        """See Shards."""
        return 0 in self._shards and 0 not in self._leaving

    def mine(self, name: AgentName) -> bool:
        """See Shards."""
        shard = shard_of(name, self.count)
        return shard in self._shards and shard not in self._leaving

    def say(self, text: str) -> None:
        """See daemon.doubting.Peers; the others hear of it within two of their rounds."""
        self._says = text

    def fence(self, name: AgentName) -> Fence:
        """See Shards."""
        shard = shard_of(name, self.count)
        held = self._shards.get(shard)
        if held is None or not self._sure(held):
            raise ShardLost(f"shard {shard} of {self.count} is not held for certain any more")
        return Fence(lease=held.lease.name, epoch=held.lease.epoch)

    def fences(self) -> tuple[Fence, ...]:
        """See Shards."""
        sure = [held.lease for _shard, held in sorted(self._shards.items()) if self._sure(held)]
        if not sure:
            raise ShardLost("no shard is held for certain any more")
        return tuple(Fence(lease=lease.name, epoch=lease.epoch) for lease in sure)

    async def lead(self, work: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
        """Wait for a seat and a first shard, then `work(over)` until it ends; `over` is set when the seat is lost, no
        shard is left, or `stop` is set. Answers when the work has ended, or `stop` is set before it began.
        """
        try:
            if not await self._begun(stop):
                return
            self._set(leads=True)
            over = asyncio.Event()
            keeper = asyncio.create_task(self._keep(over, stop))
            try:
                await work(over)
            finally:
                self._set(leads=False)
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
        finally:
            await self._give_all_up()

    def _set(self, *, leads: bool) -> None:
        self.leads = leads
        self.changed(leads)
        self.counted(len(self._shards), self.count)

    def _age(self, held: _Held) -> float:
        return self.clock.monotonic() - held.asked

    def _sure(self, held: _Held) -> bool:
        return self._age(held) < standing.TTL_S * standing.PART

    async def _begun(self, stop: asyncio.Event) -> bool:
        """Wait for a seat and a shard; whether both were had before it was to stop."""
        told = ""
        while not stop.is_set():
            problem = ""
            try:
                reason = await self._round()
            except RegistryConflict as error:
                reason = error.message
            except (ReconcilerError, TimeoutError) as error:
                reason = problem = reason_of(error)
            self.blind(problem)
            if self._shards:
                return True
            if not problem:
                self.behind()
            if reason and unhurried(reason) != told:
                told = unhurried(reason)
                self.tell.say("info", "stands-by", reason=reason)
            await either(stop, standing.STEP_S)
        return False

    async def _keep(self, over: asyncio.Event, stop: asyncio.Event) -> None:
        """Renew, take and hand over until asked to stop, or nothing is held any more. Ends in `over`."""
        try:
            while not stop.is_set():
                await either(stop, standing.STEP_S)
                if stop.is_set():
                    return
                with suppress(ReconcilerError, TimeoutError):  # what could not be renewed is seen by its age
                    await self._round()
                self._drop_unsure()
                if not self._shards:
                    self.tell.say("warning", "leads-no-more", reason="no shard is held any more")
                    return
        except Exception as error:
            self.tell.say("error", "leads-no-more", reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            over.set()

    async def _round(self) -> str:
        """Renew what is held, look who sits, take and hand over. Answers why there is no seat, or no shard yet.

        Raises ReconcilerError, TimeoutError: what could not be asked for in half of a lease's time is of no use.
        """
        async with asyncio.timeout(standing.TTL_S * standing.PART / 2):
            return await self._rounded()

    async def _rounded(self) -> str:
        old = [(shard, held) for shard, held in self._shards.items() if self._age(held) >= standing.TTL_S / 3]
        await asyncio.gather(*(self._renew(shard, held) for shard, held in old))
        if not await self._seated():
            self._begin_to_leave(self._shards.keys())  # whoever has the seats is to have the shards
            patient = self._patient_until is not None and self.clock.monotonic() < self._patient_until
            return "its seat is held by who had it before" if patient else f"all {self.count} seats are taken"
        now = self.clock.now_ms()
        seats = {
            int(lease.name.removeprefix(_SEATS).partition("-")[0]): lease.says
            for lease in await self.registry.leases(_SEATS)
            if lease.name.endswith(f"-of-{self.count}") and lease.holder and lease.expires_ms > now
        }
        own = self._seat[0] if self._seat is not None else -1
        self.others = tuple(says for seat, says in sorted(seats.items()) if seat != own)
        wanted = {shard for shard, seat in assigned(self.count, seats).items() if seat == own}
        waits = ""
        for shard in sorted(wanted - self._shards.keys()):
            waits = await self._take(shard) or waits
        self._begin_to_leave(self._shards.keys() - wanted)
        self.counted(len(self._shards), self.count)
        return waits

    async def _seated(self) -> bool:
        """Whether this daemon has a seat: its own again, or the first that is free."""
        says = self._says
        if self._seat is not None and self._said == says and self._age(self._seat[1]) < standing.TTL_S / 3:
            return True
        if self._seat is not None:
            try:
                again = await self._acquire(self._seat[1].lease.name, says)
            except RegistryConflict:
                self._seat = None
            else:
                self._seat, self._said = (self._seat[0], again), says
                return True
        for number in self._wanted_seats():
            with suppress(RegistryConflict):
                self._seat = number, await self._acquire(f"{_SEATS}{self._seat_name(number)}", says)
                self._said = says
                return True
        return False

    def _wanted_seats(self) -> list[int]:
        """Which seats to ask for, in this order: those that are known here, and after a while any."""
        now, known = self.clock.monotonic(), set(self.known())
        own = [number for number in range(self.count) if self._seat_name(number) in known]
        if self._patient_until is None:
            self._patient_until = now + standing.TTL_S if own else now
        patient = now < self._patient_until
        return own if patient else [*own, *(number for number in range(self.count) if number not in own)]

    def _seat_name(self, number: int | str) -> str:
        return f"{number}-of-{self.count}"

    async def _take(self, shard: int) -> str:
        """Take a shard that falls to us; answers why not, where another one has it still."""
        try:
            held = await self._acquire(self._name(shard))
        except RegistryConflict as error:
            return error.message
        self._shards[shard] = held
        self.tell.say("info", "shard-taken", shard=shard, of=self.count, epoch=held.lease.epoch)
        self.taken()
        return ""

    async def _renew(self, shard: int, held: _Held) -> None:
        try:
            again = await self._acquire(held.lease.name)
        except RegistryConflict as error:
            self._lost(shard, error.message)
            return
        if again.lease.epoch != held.lease.epoch:
            # it had ended, and another one may have held it: what we know of its agents may be old
            self._lost(shard, "its lease had ended")
            await self.registry.release(again.lease)
        elif shard in self._shards:
            self._shards[shard] = again

    def _drop_unsure(self) -> None:
        for shard, held in list(self._shards.items()):
            if not self._sure(held):
                self._lost(shard, "it could not be renewed in time")

    def _lost(self, shard: int, reason: str) -> None:
        if self._shards.pop(shard, None) is not None:
            self.tell.say("warning", "shard-lost", shard=shard, of=self.count, reason=reason)
            ending = asyncio.create_task(_ended(self.hand_over))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def _begin_to_leave(self, shards: Iterable[int]) -> None:
        for shard in sorted(set(shards) - self._leaving.keys()):
            self._leaving[shard] = asyncio.create_task(self._leave(shard))

    async def _leave(self, shard: int) -> None:
        """Hand a shard over: when the work on its agents has ended, whoever it falls to may have it."""
        try:
            await self.hand_over()
            held = self._shards.pop(shard, None)
            if held is not None:
                with suppress(ReconcilerError):
                    await self.registry.release(held.lease)
                self.tell.say("info", "shard-handed-over", shard=shard, of=self.count)
        finally:
            self._leaving.pop(shard, None)

    async def _give_all_up(self) -> None:
        """Let the others have all at once. Where that cannot be said in a moment, the leases end by themselves."""
        tasks = [*self._leaving.values(), *self._ending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        leases = [held.lease for held in self._shards.values()]
        leases += [self._seat[1].lease] if self._seat is not None else []
        self._shards.clear()
        self._seat, self._says, self.others = None, "", ()
        self.counted(0, self.count)
        with suppress(ReconcilerError, TimeoutError):
            async with asyncio.timeout(standing.GIVE_UP_S):
                for lease in leases:
                    await self.registry.release(lease)

    def _name(self, shard: int) -> str:
        return f"daemon/shard-{shard}-of-{self.count}"

    async def _acquire(self, name: str, says: str = "") -> _Held:
        asked = self.clock.monotonic()
        lease = await self.registry.acquire(
            name, holder=self.holder, ttl_ms=round(standing.TTL_S * 1000), now_ms=self.clock.now_ms(), says=says
        )
        return _Held(lease, asked)


_SEATS = "daemon/seat-"


async def _ended(work: Callable[[], Awaitable[None]]) -> None:
    await work()
