"""Any registry against the reference: the same fleet in both, the same queries to both."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.query import Query
from reconciler.model.registry import Record, Write
from reconciler.ports import Registry
from reconciler.query.evaluator import count, find
from tests.query.strategies import life


async def stored(registry: Registry, fleet: Sequence[Record]) -> list[Record]:
    """Write a fleet, state by state; answers the records as they then are."""
    lives = [life(record) for record in fleet]
    for number in range(max(map(len, lives), default=0)):
        some = tuple(one[number] for one in lives if number < len(one))
        await registry.commit(Write(op_id=f"op-{number}", at_ms=1, records=some))
    return [one[-1] for one in lives]


async def answers(registry: Registry, query: Query, page: int) -> list[Record]:
    """All of an answer, page by page."""
    found: list[Record] = []
    after = ""
    while True:
        part = await registry.find(query, limit=page, after=after)
        found.extend(part.records)
        after = part.next
        if not after:
            return found


async def compare(registry: Registry, records: Sequence[Record], query: Query, *, by: str, page: int) -> None:
    """Assert that a registry that holds these records answers as the reference does, to the order."""
    expected = find(records, query)
    assert [one.name for one in await answers(registry, query, page)] == [one.name for one in expected]
    assert await registry.count(query) == count(records, query)
    # Their text, because True equals 1.0.
    assert repr(await registry.count(query, by=by)) == repr(count(records, query, by=by))
