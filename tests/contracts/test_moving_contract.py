"""A registry that is moved is the same registry: from each back end to each, and through a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.exported import from_line, to_line
from reconciler.model.identity import AgentName
from reconciler.model.query import Query
from reconciler.model.registry import AgentState, AuditEntry, JournalPhase
from reconciler.model.series import FINE_MS, HOUR_MS
from reconciler.model.transfer import Ending, Heading, Kept, KeptChange, KeptOperation, KeptRecord
from tests.contracts.conftest import REGISTRIES
from tests.contracts.test_health_history_contract import HOUR, change, point, points_of
from tests.contracts.values import MINER, TRIAGE, fact, fleet, health, intent, record, revision, write

S = AgentState


async def fill(registry) -> None:
    """Something of everything, with a gone agent, an open and a closed journal entry, and gaps in no order."""
    await registry.commit(write(record(), record(MINER), fleet=fleet(1), audit=(fact(), fact("create", MINER))))
    await registry.commit(write(record(MINER, version=2, state=S.GONE), revisions=(revision(1, MINER),)))
    await registry.commit(write(record(MINER, id_="second"), journal=(intent("b"), intent("a"), intent("c"))))
    await registry.commit(write(record(version=2, state=S.DEPLOYING), journal=(intent("a", JournalPhase.DONE),)))
    await registry.commit(write(revisions=(revision(1), revision(10), revision(2)), clusters=(health(),)))
    await registry.commit(write(audit=(fact("note", None),), fleet=fleet(2), op_id="last"))
    await registry.commit(write(record(AgentName(namespace="support", name="left")), op_id="left-1"))
    await registry.commit(
        write(replace(record(AgentName(namespace="support", name="left")), version=2, state=S.GONE), op_id="left-2")
    )
    points = [point(TRIAGE, HOUR, 10, 20), point(MINER, HOUR, 5), point(TRIAGE, HOUR + FINE_MS, 30)]
    await registry.record_health([change(), change(at_ms=7), change(MINER, 7)], points, op_id="health")
    await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)


async def whole(registry) -> list[Kept]:
    return [item async for item in registry.export()]


async def stream(items: Sequence[Kept]) -> AsyncIterator[Kept]:
    for item in items:
        yield item


BACK_ENDS = REGISTRIES
"""What is behind a cache is moved without it."""


@pytest.fixture(params=REGISTRIES)
def other_at(request: pytest.FixtureRequest):
    return request.getfixturevalue(f"{request.param.replace('-', '_')}_at")


async def test_what_was_moved_is_the_same_registry(registry, other_at) -> None:
    await fill(registry)
    items = await whole(registry)
    target = await other_at("other")()
    try:
        counts = await target.load(stream([from_line(to_line(item), 1) for item in items]))
        assert await whole(target) == items
        assert counts["record"] == 3
        assert await target.snapshot() == await registry.snapshot()
        live = await target.find(Query(), limit=10)
        assert [one.name for one in live.records] == [MINER, TRIAGE], "it is searched as the other one is"
        assert await target.open_journal() == await registry.open_journal()
        assert await target.revisions(TRIAGE) == await registry.revisions(TRIAGE)
        assert await target.verify_audit() == await registry.verify_audit()
        changes = await target.health_changes(None, since_ms=0)
        assert changes == await registry.health_changes(None, since_ms=0)
        assert len(changes) == 3
        assert await points_of(target, None, HOUR_MS) == await points_of(registry, None, HOUR_MS)
        assert [item async for item in target.changes(2)] == [item async for item in registry.changes(2)]
        assert await target.commit(write(audit=(fact("note", None),), fleet=fleet(2), op_id="last")) == 5, "known there"
        with pytest.raises(RegistryConflict):
            await target.commit(write(record(version=2)))
        next_seq = await target.commit(write(record(version=3, state=S.RUNNING), audit=(fact(),)))
        assert isinstance(items[0], Heading)
        assert next_seq == items[0].seq + 1
        assert (await target.verify_audit()).sound
        assert (await target.acquire("apply", holder="bob", ttl_ms=1, now_ms=1)).epoch == 1, "leases stay behind"
    finally:
        await target.close()


async def test_an_empty_registry_can_be_moved(registry, other_at) -> None:
    target = await other_at("other")()
    try:
        await target.load(stream(await whole(registry)))
        assert await target.snapshot() == await registry.snapshot()
        assert await target.commit(write(record())) == 1
    finally:
        await target.close()


BROKEN: dict[str, Callable[[list[Kept]], list[Kept]]] = {
    "cut": lambda items: items[:-1],
    "removed": lambda items: [item for item in items if not isinstance(item, KeptRecord)],
    "tampered": lambda items: [replace(i, at_ms=7) if isinstance(i, AuditEntry) and i.seq == 2 else i for i in items],
    "twice": lambda items: [*items[:-1], *items],
    "disordered": lambda items: [replace(i, seq=99) if isinstance(i, KeptChange) and i.seq == 2 else i for i in items],
    "newer": lambda items: [replace(i, format=99) if isinstance(i, Heading) else i for i in items],
    "headless": lambda items: items[1:],
    "no digest": lambda items: [replace(i, digest="x") if isinstance(i, KeptOperation) else i for i in items],
}


@pytest.mark.parametrize("how", sorted(BROKEN))
async def test_a_broken_export_leaves_the_registry_empty(registry, open_registry, other_at, how) -> None:
    source = await other_at("other")()
    try:
        await fill(source)
        items = await whole(source)
    finally:
        await source.close()
    with pytest.raises(RegistryError):
        await registry.load(stream(BROKEN[how](items)))
    again = await open_registry()
    assert await whole(again) == [Heading(seq=0, audit_seq=0, audit_hash="0" * 64), Ending(counts={"heading": 1})]
    await again.load(stream(items))
    assert await whole(again) == items


@pytest.mark.parametrize(
    "records", [(), (KeptRecord(seq=2**69, record=record()),)], ids=["in the heading", "of a record"]
)
async def test_a_number_that_no_registry_writes_is_told(sqlite_at, records) -> None:
    registry = await sqlite_at("filled")()
    items: list[Kept] = [Heading(seq=2**70, audit_seq=0, audit_hash="0" * 64), *records]
    try:
        with pytest.raises(RegistryError, match="a number is too large"):
            await registry.load(stream([*items, Ending(counts={"heading": 1} | ({"record": 1} if records else {}))]))
    finally:
        await registry.close()


async def test_a_registry_in_use_is_not_filled(registry) -> None:
    await registry.commit(write(audit=(fact(),)))
    before = await whole(registry)
    with pytest.raises(RegistryError, match="in use"):
        await registry.load(stream(before))
    assert await whole(registry) == before


async def test_an_export_is_of_one_moment(registry, open_registry) -> None:
    await fill(registry)
    before = await whole(registry)
    other = await open_registry()
    seen: list[Kept] = []
    async for item in registry.export():
        if not seen:
            await other.commit(write(record(version=3, state=S.RUNNING), audit=(fact(),), revisions=(revision(11),)))
        seen.append(item)
    assert seen == before
    assert await whole(registry) != before


def test_lines_that_are_none_are_named() -> None:
    for line in (b"", b"{}", b'{"kind": "record", "value": {}}', b'{"kind": "nothing", "value": 1}', b"\xff"):
        with pytest.raises(RegistryError, match="line 7"):
            from_line(line, 7)
    deep = b'{"kind": "record", "value": {"record": {"document": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_002
    with pytest.raises(RegistryError, match="line 7"):
        from_line(deep + b"}", 7)
