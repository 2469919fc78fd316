"""Writes that come at once to ArangoDB's double: few transactions, each write whole for itself, and none twice."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest
import pytest_asyncio

from reconciler.adapters.arango import Access, ArangoRegistry, Patience
from reconciler.adapters.arango.writing import Encoded, write_group
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import AgentState, JournalPhase, Write
from tests.contracts.values import TRIAGE, fact, fleet, intent, record, revision, write
from tests.doubles.arango.double import ArangoDouble, Kind
from tests.doubles.clock import FakeClock

QUICK = Patience(attempts=6, pause_s=0.001, longest_pause_s=0.01, lock_s=1)
NAMES = [AgentName(namespace="n", name=f"a{number:02}") for number in range(20)]


@pytest_asyncio.fixture
async def registry(double: ArangoDouble):
    access = Access(
        urls=(double.url,), database=f"grouping-{secrets.token_hex(6)}", username="root", password=double.password
    )
    opened = await ArangoRegistry.open(access, FakeClock(), patience=QUICK)
    yield opened
    await opened.close()
    double.clear_faults()


def one(name: AgentName, version: int = 1) -> Write:
    return write(
        replace(record(name), version=version), journal=(intent(f"{name}-{version}", agent=name),),
        revisions=(revision(version, name),), audit=(fact(agent=name),),
    )  # fmt: skip


async def test_writes_that_come_at_once_share_transactions(registry, double) -> None:
    begun = double.fault(Kind.DELAY, "POST /_api/transaction/begin", times=1000)
    asked = double.fault(Kind.DELAY, "POST /_api/cursor", times=1000)
    seqs = await asyncio.gather(*(registry.commit(one(name)) for name in NAMES))
    assert sorted(seqs) == list(range(1, len(NAMES) + 1))
    assert begun.met <= 3
    assert asked.met <= 3 * 9
    double.clear_faults()
    assert [item async for item in registry.changes(0)] == [
        (seq, name) for seq, name in sorted(zip(seqs, NAMES, strict=True))
    ]
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, len(NAMES))
    assert len(await registry.open_journal()) == len(NAMES)
    assert await registry.integrity() == ()


async def test_each_write_of_a_group_is_whole_or_refused_by_itself(registry) -> None:
    await registry.commit(write(record(TRIAGE), op_id="known"))
    writes = [
        one(NAMES[0]),
        write(replace(record(TRIAGE), version=5), journal=(intent("lost"),), fleet=fleet(1)),  # another has it
        write(replace(record(TRIAGE), version=2, state=AgentState.DEPLOYING)),
        write(record(NAMES[1], state=AgentState.RUNNING), audit=(fact(),)),  # no way to begin
        write(replace(record(TRIAGE), version=3, state=AgentState.RUNNING)),  # of what one before it made
        write(record(TRIAGE), op_id="known"),
        write(journal=(intent(f"{NAMES[0]}-1", JournalPhase.DONE, NAMES[0]),), fleet=fleet(1)),
        write(fleet=fleet(2)),
    ]
    group = [Encoded(each) for each in writes]
    outcomes = await registry._write("write", lambda db: write_group(db, group))
    assert [type(each) for each in outcomes] == [
        int, RegistryConflict, int, RegistryError, int, int, int, int
    ]  # fmt: skip
    assert outcomes[5] == 1, "what was done before is known"
    found = await registry.get(TRIAGE)
    assert isinstance(found, Found)
    assert (found.value.version, found.value.state) == (3, AgentState.RUNNING)
    assert await registry.open_journal() == (), "of what was refused nothing is there, and what ended has ended"
    assert len([entry async for entry in registry.audit()]) == 1
    assert await registry.integrity() == ()


async def test_what_the_server_refuses_of_one_hurts_no_other(registry, double) -> None:
    """A name that cannot be a key, among others that can."""
    odd = AgentName(namespace="no key", name="at all")
    double.fault(Kind.DELAY, "POST /_api/transaction/begin", seconds=0.05)
    writes = [one(name) for name in (NAMES[0], NAMES[1], odd, NAMES[2], NAMES[3])]
    outcomes = await asyncio.gather(*(registry.commit(each) for each in writes), return_exceptions=True)
    assert [isinstance(each, int) for each in outcomes] == [True, True, False, True, True]
    assert {name async for _, name in registry.changes(0)} == set(NAMES[:4])
    assert await registry.integrity() == ()


@pytest.mark.parametrize("kind", [Kind.CUT_BEFORE, Kind.CUT_DURING, Kind.CUT_AFTER])
@pytest.mark.parametrize("at", ["POST /_api/cursor", "PUT /_api/transaction/"])
async def test_a_group_that_is_cut_is_done_once(registry, double, kind, at) -> None:
    await registry.commit(one(TRIAGE))
    double.fault(kind, at, skip=1)
    writes = [one(name) for name in NAMES[:8]]
    await asyncio.gather(*(registry.commit(each) for each in writes))
    double.clear_faults()
    again = await asyncio.gather(*(registry.commit(each) for each in writes))
    assert sorted(again) == list(range(2, 10))
    assert len([item async for item in registry.changes(0)]) == 9
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 9)


async def test_who_waits_no_more_leaves_the_others_be(registry, double) -> None:
    double.fault(Kind.DELAY, "POST /_api/transaction/begin", seconds=0.1)
    tasks = [asyncio.create_task(registry.commit(one(name))) for name in NAMES[:6]]
    await asyncio.sleep(0)
    tasks[2].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[2], asyncio.CancelledError)
    assert [isinstance(each, int) for each in outcomes] == [True, True, False, True, True, True]
    assert {NAMES[0], NAMES[5]} <= {name async for _, name in registry.changes(0)}
    assert await registry.integrity() == ()
