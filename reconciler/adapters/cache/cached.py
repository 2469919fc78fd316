"""CachedRegistry: decoded records and answers to queries, kept in this process for as long as they are true.

The change feed says what is no longer true. Before an answer is given out of the cache the feed is looked at, unless
that was done within `patience_s`: with 0 nothing is ever told that was not true when it was asked. What this process
writes is forgotten at once, so it always reads its own writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from reconciler.adapters.cache.bounded import Bounded, Uses
from reconciler.adapters.cache.passing import Passing
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Observation, Unreadable
from reconciler.model.query import Comparator, Compare, GroupCount, Page, Query, QueryPlan
from reconciler.model.registry import Record, Write
from reconciler.ports import Clock, Registry

MOST_RECORDS = 10_000
MOST_ANSWERS = 50_000
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
    """Implements ports.Registry around another one, which it closes."""

    def __init__(
        self,
        inner: Registry,
        clock: Clock,
        *,
        patience_s: float = 0.0,
        most_records: int = MOST_RECORDS,
        most_answers: int = MOST_ANSWERS,
    ) -> None:
        self._inner, self._clock, self._patience_s = inner, clock, patience_s
        self._records: Bounded[AgentName, Observation[Record]] = Bounded(most_records)
        self._answers: Bounded[Hashable, Any] = Bounded(most_answers)
        self._seq: int | None = None
        self._generation = 0
        """Counts what was found to be no longer true. An answer is kept only if that stood still while it was asked."""
        self._looking = asyncio.Lock()
        self._begun = self._done = 0
        self._looked_s = float("-inf")

    @property
    def uses(self) -> CacheUses:
        """Since this was made."""
        return CacheUses(records=self._records.uses, answers=self._answers.uses, looks=self._begun)

    async def _registry(self) -> Registry:
        return self._inner

    def new_id(self) -> str:
        return self._inner.new_id()

    async def get(self, name: AgentName) -> Observation[Record]:
        try:
            await self._look()
        except RegistryError as error:
            return Unreadable(reason=error.message)
        known = self._records.get(name)
        if known is not None:
            return known
        generation = self._generation
        answer = await self._inner.get(name)
        if generation == self._generation and not isinstance(answer, Unreadable):
            self._records.put(name, answer)
        return answer

    async def find(self, query: Query, *, limit: int, after: str = "") -> Page:
        # By its text: to Python queries for true and for 1 are equal.
        key = ("find", repr(query), limit, after)
        await self._look()
        known: Page | None = self._answers.get(key)
        if known is not None:
            return known
        generation = self._generation
        page = await self._inner.find(query, limit=limit, after=after)
        if generation == self._generation:
            self._answers.put(key, page, 1 + len(page.records))
        return page

    async def count(self, query: Query, *, by: str = "") -> tuple[GroupCount, ...]:
        key = ("count", repr(query), by)
        await self._look()
        known: tuple[GroupCount, ...] | None = self._answers.get(key)
        if known is not None:
            return known
        generation = self._generation
        groups = await self._inner.count(query, by=by)
        if generation == self._generation:
            self._answers.put(key, groups, 1 + len(groups))
        return groups

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
            now_s = self._clock.monotonic()
            if self._seq is None:
                self._seq = (await self._inner.find(NOBODY, limit=1)).seq
            else:
                changed = []
                async for seq, name in self._inner.changes(self._seq):
                    changed.append((seq, name))
                if changed:
                    self._forget([name for _, name in changed])
                    self._seq = changed[-1][0]
            self._looked_s, self._done = now_s, self._begun

    def _forget(self, names: list[AgentName]) -> None:
        self._generation += 1
        for name in names:
            self._records.drop(name)
        self._answers.clear()
