"""CachedRegistry: decoded records and answers to queries, kept in this process for as long as they are true.

The change feed says what is no longer true. Before an answer is given out of the cache the feed is looked at, unless
that was done within `patience_s`: with 0 nothing is ever told that was not true when it was asked. What this process
writes is forgotten at once, so it always reads its own writes. While the feed cannot be read nothing is told from here:
the registry below answers for itself, and says of when where it answers from a copy of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from reconciler.adapters.cache.bounded import Bounded, Uses
from reconciler.adapters.cache.passing import Passing
from reconciler.adapters.cache.told import AWAY_S, Outcome, Told, Used, unheard
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Observation, Unreadable
from reconciler.model.query import Comparator, Compare, GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import Record, Write
from reconciler.ports import Aging, Clock, Registry, Stale

T = TypeVar("T")
MOST_RECORDS = 10_000
MOST_ANSWERS = 10_000
"""Records in all pages that are kept, and groups of counts."""
NOBODY = Query(where=Compare("id", Comparator.EQUAL, "-"))
"""Asked for how far the registry has come: no id is like that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUses:
    """What both parts of the cache were good for, and how often the feed was looked at."""

    records: Uses
    answers: Uses
    looks: int


class CachedRegistry(Passing):
    """Implements ports.Registry around another one, which it closes; ports.Aging and ports.Upkeep as that one does."""

    def __init__(
        self,
        inner: Registry,
        clock: Clock,
        *,
        patience_s: float = 0.0,
        most_records: int = MOST_RECORDS,
        most_answers: int = MOST_ANSWERS,
        used: Used = unheard,
    ) -> None:
        self._inner, self._clock, self._patience_s, self._used = inner, clock, patience_s, used
        self._aging = inner if isinstance(inner, Aging) else None
        self._records: Bounded[AgentName, Observation[Record]] = Bounded(most_records)
        self._answers: Bounded[Hashable, Any] = Bounded(most_answers)
        self._seq: int | None = None
        self._generation = 0
        """Counts what was found to be no longer true. An answer is kept only if that stood still while it was asked."""
        self._looking = asyncio.Lock()
        self._begun = self._done = 0
        self._looked_s = self._away_until_s = float("-inf")
        self._told = Told()

    @property
    def uses(self) -> CacheUses:
        """Since this was made."""
        return CacheUses(records=self._records.uses, answers=self._answers.uses, looks=self._begun)

    @property
    def stale(self) -> Stale | None:
        return self._told.stale

    async def _registry(self) -> Registry:
        return self._inner

    def new_id(self) -> str:
        return self._inner.new_id()

    async def get(self, name: AgentName) -> Observation[Record]:
        if not await self._current():
            self._used("records", Outcome.MISS)
            return await self._inner.get(name)
        known = self._records.get(name)
        self._used("records", Outcome.MISS if known is None else Outcome.HIT)
        if known is not None:
            return known
        generation = self._generation
        answer = await self._inner.get(name)
        if generation == self._generation and not isinstance(answer, Unreadable):
            self._records.put(name, answer)
        return answer

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        # By its text: to Python queries for true and for 1 are equal.
        return await self._answer(
            ("find", repr(query), limit, after),
            lambda: self._inner.find(query, limit=limit, after=after),
            lambda page: 1 + len(page.records),
        )

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        return await self._answer(
            ("count", repr(query), by), lambda: self._inner.count(query, by=by), lambda groups: 1 + len(groups)
        )

    async def explain(self, query: Query, *, limit: int, after: str = "") -> QueryPlan:
        return await self._inner.explain(query, limit=limit, after=after)

    async def commit(self, write: Write) -> int:
        """See the port. What it names is forgotten even when it fails: whether it was written may be unknown."""
        try:
            return await self._inner.commit(write)
        finally:
            if write.records:
                self._forget([record.name for record in write.records])

    async def close(self) -> None:
        await self._inner.close()

    async def _answer(self, key: Hashable, ask: Callable[[], Awaitable[T]], weight: Callable[[T], int]) -> T:
        current = await self._current()
        known: T | None = self._answers.get(key) if current else None
        self._used("answers", Outcome.MISS if known is None else Outcome.HIT)
        if known is not None:
            self._told.stale = None
            return known
        generation = self._generation
        answer = await ask()
        stale = self._told.stale = self._aging.stale if self._aging is not None else None
        if current and stale is None and generation == self._generation:
            self._answers.put(key, answer, weight(answer))
        return answer

    async def _current(self) -> bool:
        """Whether what is kept here is known to be true. A feed that cannot be read is left alone for a while."""
        if self._clock.monotonic() < self._away_until_s:
            return False
        try:
            await self._look()
        except RegistryError:
            self._away_until_s = self._clock.monotonic() + AWAY_S
            return False
        return True

    async def _look(self) -> None:
        """Let the feed say what is no longer true. A look that began after this call is as good as one of its own.

        Raises RegistryError: then nothing is told from here either.
        """
        if self._clock.monotonic() - self._looked_s < self._patience_s:
            return
        asked = self._begun
        async with self._looking:
            if self._done > asked:
                return
            self._begun += 1
            begun, now_s = self._begun, self._clock.monotonic()
            if self._seq is None:
                self._seq = (await self._inner.find(NOBODY, limit=1)).seq
            else:
                changed = []
                async for seq, name in self._inner.changes(self._seq):
                    changed.append((seq, name))
                if changed:
                    self._forget([name for _, name in changed])
                    self._seq = changed[-1][0]
            self._looked_s, self._done = now_s, begun

    def _forget(self, names: list[AgentName]) -> None:
        self._generation += 1
        for name in names:
            self._records.drop(name)
        self._answers.clear()
