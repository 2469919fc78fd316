"""MirroredRegistry: a registry that is far, with a copy of its records on this machine.

Queries are answered from the copy, after the feed of the registry has brought it up to date; so a restart costs what
changed meanwhile. When the registry is away, queries go on from the copy, and `stale` says of when it is. All else
goes to the registry itself: what is decided by a record is never decided by a copy, and nothing is written from it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from reconciler.adapters.cache.passing import Passing
from reconciler.adapters.cache.told import AWAY_S, Outcome, Told, Used, unheard
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, Observation, Unreadable
from reconciler.model.query import Comparator, Compare, GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import AgentState, Record, RegistrySnapshot, Write
from reconciler.ports import Clock, Mirror, Position, Registry, Stale

T = TypeVar("T")

MOST_SINGLE = 200
"""So many changed agents are read one by one; for more the whole registry is read again."""
ROUNDS = 5
"""How often what changed while it was read is read again, before the copy is taken as good enough for now."""
_FROM_COPY = "it is answered from the copy of the registry on this machine"
NOBODY = Query(where=Compare("id", Comparator.EQUAL, "-"))
"""Asked for how far the registry has come: no id is like that."""


class MirroredRegistry(Passing):
    """Implements ports.Registry and ports.Aging, and closes both. `reach` opens the registry, and raises RegistryError
    while it is away; `new_id` makes ids, which needs no registry.
    """

    def __init__(
        self,
        reach: Callable[[], Awaitable[Registry]],
        mirror: Mirror,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        used: Used = unheard,
    ) -> None:
        self._reach, self._mirror, self._clock, self.new_id, self._used = reach, mirror, clock, new_id, used
        self._far: Registry | None = None
        self._reaching, self._syncing = asyncio.Lock(), asyncio.Lock()
        self._checked = self._spoilt = False
        self._away_until_s = float("-inf")
        self._why = ""
        self._told = Told()

    @property
    def stale(self) -> Stale | None:
        return self._told.stale

    async def open(self) -> None:
        """Reach the registry; one that is away is no failure where there is a copy of it. Raises RegistryError."""
        try:
            await self._registry()
        except RegistryError as error:
            if not (await self._mirror.position()).as_of_ms:
                raise
            self._away_until_s, self._why = self._clock.monotonic() + AWAY_S, error.message

    async def _registry(self) -> Registry:
        async with self._reaching:
            if self._far is None:
                self._far = await self._reach()
            return self._far

    async def get(self, name: AgentName) -> Observation[Record]:
        """From the registry itself: what is read here is decided by."""
        try:
            return await (await self._registry()).get(name)
        except RegistryError as error:
            return Unreadable(reason=error.message)

    async def snapshot(self) -> Observation[RegistrySnapshot]:
        """From the registry itself, as `get`."""
        try:
            return await super().snapshot()
        except RegistryError as error:
            return Unreadable(reason=error.message)

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        return await self._answer(lambda who: who.find(query, limit=limit, after=after))

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        return await self._answer(lambda who: who.count(query, by=by))

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        plan = await self._answer(lambda who: who.explain(query, limit=limit, after=after))
        return plan if self._spoilt else replace(plan, notes=(*plan.notes, _FROM_COPY))

    async def commit(self, write: Write) -> int:
        """In the registry; the copy then has it too, so that what was written is read even when it goes away now."""
        seq = await (await self._registry()).commit(write)
        first = seq - len(write.records) + 1
        records = {first + index: (one.name, _live(one)) for index, one in enumerate(write.records)}
        async with self._syncing:
            with contextlib.suppress(RegistryError), self._copying():
                for _ in range(ROUNDS):
                    position = await self._mirror.position()
                    news = {at: item for at, item in records.items() if at > position.seq}
                    if not news or await self._mirror.take(news, position):
                        break
        return seq

    async def close(self) -> None:
        if self._far is not None:
            await self._far.close()
        await self._mirror.close()

    async def _answer(self, ask: Callable[[Registry | Mirror], Awaitable[T]]) -> T:
        """Ask the copy, brought up to date if that can be; or the registry, where the copy is spoilt.

        Raises RegistryError where neither can answer.
        """
        stale = None
        async with self._syncing:
            try:
                await self._sync()
            except RegistryError as error:
                if not self._spoilt:
                    stale = await self._age(error)
        if not self._spoilt:
            with contextlib.suppress(RegistryError), self._copying():
                answer = await ask(self._mirror)
                self._told.stale = stale
                self._used("copy", Outcome.HIT if stale is None else Outcome.STALE)
                return answer
        self._told.stale = None
        self._used("copy", Outcome.MISS)
        return await ask(await self._registry())

    async def _age(self, away: RegistryError) -> Stale:
        """The registry is away: of when the copy is. Raises `away` where there is none yet."""
        with self._copying():
            position = await self._mirror.position()
        if not position.as_of_ms:
            raise away
        return Stale(as_of_ms=position.as_of_ms, reason=away.message)

    async def _sync(self) -> None:
        if self._spoilt:
            return
        if self._clock.monotonic() < self._away_until_s:
            raise RegistryError(self._why)
        try:
            await self._catch_up(await self._registry())
        except RegistryError as error:
            if not self._spoilt:
                self._away_until_s, self._why = self._clock.monotonic() + AWAY_S, error.message
            raise

    async def _catch_up(self, far: Registry) -> None:
        """Bring the copy to where the registry is."""
        as_of_ms = self._clock.now_ms()
        with self._copying():
            position = await self._mirror.position()
        if not position.as_of_ms or (not self._checked and (await far.find(NOBODY, limit=1)).seq < position.seq):
            # Empty, or of a registry that went back in time: what it knows of later is not true any more.
            await self._fill(far, as_of_ms)
            return
        records: dict[AgentName, tuple[int, Record | None]] = {}
        seq = position.seq
        for _ in range(ROUNDS):
            changed = {name: at async for at, name in far.changes(seq)}
            if not changed:
                break
            if len(changed) > MOST_SINGLE:
                await self._fill(far, as_of_ms)
                return
            for name, at in changed.items():
                records[name] = at, await _read(far, name)
            seq = max(seq, *changed.values())
        with self._copying():
            taken = {at: (name, record) for name, (at, record) in records.items()}
            await self._mirror.take(taken, Position(seq=seq, as_of_ms=as_of_ms))
            self._checked = True

    async def _fill(self, far: Registry, as_of_ms: int) -> None:
        snapshot = await far.snapshot()
        if not isinstance(snapshot, Found):
            raise RegistryError(snapshot.reason if isinstance(snapshot, Unreadable) else "there is no registry")
        with self._copying():
            await self._mirror.fill(snapshot.value, as_of_ms=as_of_ms)
            self._checked = True

    @contextlib.contextmanager
    def _copying(self) -> Iterator[None]:
        """A copy that fails is not used any more: the registry answers for itself."""
        try:
            yield
        except RegistryError:
            self._spoilt = True
            raise


def _live(record: Record) -> Record | None:
    return None if record.state is AgentState.GONE else record


async def _read(far: Registry, name: AgentName) -> Record | None:
    """A live record, or None. Raises RegistryError."""
    match await far.get(name):
        case Found(value=record):
            return record
        case Unreadable(reason=reason):
            raise RegistryError(reason)
        case _:
            return None
