"""Every kind of fault at every request of a write: nothing lost, nothing twice, and an end that is known."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler.adapters.arango import Access, ArangoRegistry, Patience
from reconciler.model.errors import OutcomeUnknown, RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found, Unreadable
from reconciler.model.registry import AgentState, Write
from tests.contracts.values import MINER, TRIAGE, fact, fleet, intent, record, revision, write
from tests.doubles.arango.double import ArangoDouble, Kind, Settings, arango_double
from tests.doubles.clock import FakeClock

QUICK = Patience(attempts=12, pause_s=0.001, longest_pause_s=0.01, connect_s=10.0, read_s=3.0, lock_s=1)
"""Many attempts, because a slow machine makes time-outs of its own."""
COMMIT = "PUT /_api/transaction/"
BEGIN = "POST /_api/transaction/begin"
CURSOR = "POST /_api/cursor"
CUTS = (Kind.CUT_BEFORE, Kind.CUT_DURING, Kind.CUT_AFTER)


@pytest.fixture(scope="module")
def double() -> Iterator[ArangoDouble]:
    with arango_double(coordinators=2, settings=Settings(idle_seconds=1.0)) as running:
        yield running
        assert running.refused == []


@pytest.fixture
def access(double: ArangoDouble) -> Iterator[Access]:
    yield Access(
        urls=tuple(double.urls), database=f"faults-{secrets.token_hex(6)}", username="root", password=double.password
    )
    double.clear_faults()


@pytest.fixture
async def registry(access: Access) -> AsyncIterator[ArangoRegistry]:
    opened = await ArangoRegistry.open(access, FakeClock(), patience=QUICK)
    yield opened
    await opened.close()


async def state(access: Access) -> tuple[object, ...]:
    """All that the registry holds, over connections of its own."""
    opened = await ArangoRegistry.open(access, FakeClock())
    try:
        return tuple([item async for item in opened.export()])
    finally:
        await opened.close()


def first() -> Write:
    return write(
        record(), fleet=fleet(1), journal=(intent("a"),), revisions=(revision(1),), audit=(fact(),), op_id="one"
    )


async def sound(access: Access, *, commits: int) -> None:
    """Each write is there once, in the feed, the records and the chain."""
    opened = await ArangoRegistry.open(access, FakeClock())
    try:
        assert [seq async for seq, _ in opened.changes(0)] == list(range(1, commits + 1))
        verdict = await opened.verify_audit()
        assert (verdict.sound, verdict.count) == (True, commits)
        found = await opened.get(TRIAGE)
        assert isinstance(found, Found)
        assert found.value.version == commits
    finally:
        await opened.close()


# one fault at one request


REQUESTS = 11
"""Of a write that writes something of everything."""


@pytest.mark.parametrize("kind", [*CUTS, Kind.UNAVAILABLE, Kind.HANG_AFTER, Kind.HANG_BEFORE])
async def test_one_fault_at_any_request_of_a_write_changes_nothing(access, double, kind) -> None:
    registry = await ArangoRegistry.open(access, FakeClock(), patience=replace(QUICK, read_s=1.5))
    try:
        for at in range(REQUESTS):
            name = AgentName(namespace="faults", name=f"a{at}")
            one = write(
                record(name), fleet=fleet(at + 1), journal=(intent(f"j{at}"),), revisions=(revision(1, name),),
                audit=(fact(agent=name),), op_id=f"one-{at}",
            )  # fmt: skip
            fault = double.fault(kind, "/_api/(transaction|cursor)", skip=at)
            try:
                seq = await registry.commit(one)
            except OutcomeUnknown:
                seq = await registry.commit(one)
            double.release(fault)
            double.clear_faults()
            assert (fault.met, seq) == (1, 2 * at + 1), f"request {at}"
            assert await registry.commit(one) == seq, "and known afterwards"
            two = write(replace(record(name), version=2, state=AgentState.DEPLOYING), audit=(fact(agent=name),))
            assert await registry.commit(two) == 2 * at + 2, "no lock is left behind"
    finally:
        await registry.close()
    opened = await ArangoRegistry.open(access, FakeClock())
    try:
        assert [seq async for seq, _ in opened.changes(0)] == list(range(1, 2 * REQUESTS + 1))
        verdict = await opened.verify_audit()
        assert (verdict.sound, verdict.count) == (True, 2 * REQUESTS)
        assert len(await opened.open_journal()) == REQUESTS
        assert await opened.integrity() == ()
    finally:
        await opened.close()


@pytest.mark.parametrize("kind", CUTS)
async def test_a_lease_is_taken_once_however_the_commit_is_cut(registry, double, kind) -> None:
    double.fault(kind, COMMIT)
    assert (await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1)).epoch == 1
    with pytest.raises(RegistryConflict, match="ada"):
        await registry.acquire("apply", holder="bob", ttl_ms=5000, now_ms=2)


@pytest.mark.parametrize("code", [1200, 18, 28, 29, 1654, 1655, 38, 1495, 1496])
async def test_what_passes_by_itself_is_tried_again(registry, access, double, code) -> None:
    double.fault(Kind.ERROR, CURSOR, error=code, skip=2)
    assert await registry.commit(first()) == 1
    await sound(access, commits=1)


@pytest.mark.parametrize("code", [1200, 1654, 18])
async def test_a_commit_that_was_refused_is_done_again_whole(registry, access, double, code) -> None:
    double.fault(Kind.ERROR, COMMIT, error=code)
    assert await registry.commit(first()) == 1
    await sound(access, commits=1)


@pytest.mark.parametrize("code", [4, 32, 1004])
async def test_what_does_not_pass_is_refused_at_once_and_leaves_nothing(registry, access, double, code) -> None:
    before = await state(access)
    fault = double.fault(Kind.ERROR, CURSOR, error=code, skip=1)
    with pytest.raises(RegistryError, match=rf"cannot write.*error {code}"):
        await registry.commit(first())
    assert fault.met == 1
    assert await state(access) == before
    assert await registry.commit(first()) == 1, "no lock is left behind"


# more than patience


async def test_a_server_that_cuts_every_commit_leaves_the_outcome_unknown_and_a_repetition_settles_it(
    registry, access, double
) -> None:
    double.fault(Kind.CUT_AFTER, COMMIT)
    double.fault(Kind.CUT_BEFORE, "/_api/transaction", skip=1, times=1000)
    with pytest.raises(OutcomeUnknown) as caught:
        await registry.commit(first())
    assert "operation id" in caught.value.hint
    double.clear_faults()
    assert await registry.commit(first()) == 1
    await sound(access, commits=1)


async def test_conflicts_without_end_are_an_error_and_nothing_is_written(registry, access, double) -> None:
    before = await state(access)
    double.fault(Kind.ERROR, CURSOR, error=1200, skip=1, times=1000)
    with pytest.raises(RegistryError, match="1200"):
        await registry.commit(first())
    double.clear_faults()
    assert await state(access) == before


async def test_a_server_that_is_away_is_unreadable_and_refuses_writes(registry, double) -> None:
    await registry.commit(first())
    double.fault(Kind.UNAVAILABLE, times=1000)
    seen = await registry.snapshot()
    assert isinstance(seen, Unreadable)
    assert not seen.refused
    with pytest.raises(RegistryError, match="503"):
        await registry.commit(write(record(MINER)))
    double.clear_faults()
    assert isinstance(await registry.snapshot(), Found)


async def test_an_error_names_server_database_and_what_to_do(access) -> None:
    nobody = replace(access, urls=("http://127.0.0.1:9",))
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9/faults-.*cannot open the registry") as caught:
        await ArangoRegistry.open(nobody, FakeClock(), patience=QUICK)
    assert "can be reached" in caught.value.hint
    assert access.password not in str(caught.value) or not access.password


# tokens


async def test_an_expired_token_is_renewed_in_the_middle_of_a_write(registry, access, double) -> None:
    await registry.commit(first())
    double.expire_tokens()
    await registry.commit(write(replace(record(), version=2, state=AgentState.DEPLOYING), audit=(fact(),)))
    double.expire_tokens()
    assert isinstance(await registry.snapshot(), Found)
    await sound(access, commits=2)


async def test_a_token_that_ended_by_the_clock_is_renewed_too(tmp_path) -> None:
    with arango_double(settings=Settings(token_seconds=1.0)) as short:
        access = Access(urls=(short.url,), database="short", username="root", password=short.password)
        opened = await ArangoRegistry.open(access, FakeClock(), patience=QUICK)
        try:
            short.settings.token_seconds = 3600.0
            short.expire_tokens()
            for link in opened._servers._links.values():
                connection: Any = link.db.conn
                connection._token_exp = 1
            assert await opened.commit(first()) == 1
        finally:
            await opened.close()


async def test_a_wrong_password_is_refused_and_is_not_an_outage(access) -> None:
    with pytest.raises(RegistryError, match="cannot open the registry") as caught:
        await ArangoRegistry.open(replace(access, password="wrong"), FakeClock(), patience=QUICK)
    assert "password" in caught.value.hint


# coordinators


async def test_a_coordinator_that_is_gone_is_left_for_the_next_one(registry, access, double) -> None:
    await registry.commit(first())
    double.stop_coordinator(0)
    try:
        await registry.commit(write(replace(record(), version=2, state=AgentState.DEPLOYING), audit=(fact(),)))
        assert isinstance(await registry.snapshot(), Found)
    finally:
        double.start_coordinator(0)
    await sound(access, commits=2)


@pytest.mark.parametrize("kind", [Kind.CUT_BEFORE, Kind.CUT_AFTER])
async def test_a_coordinator_that_goes_with_a_commit_under_way_loses_nothing(registry, access, double, kind) -> None:
    fault = double.fault(kind, COMMIT)
    write_ = asyncio.create_task(registry.commit(first()))
    while not fault.met and not write_.done():  # noqa: ASYNC110 - it is another thread's
        await asyncio.sleep(0)
    double.stop_coordinator(0)
    try:
        try:
            assert await write_ == 1
        except OutcomeUnknown:
            assert await registry.commit(first()) == 1
    finally:
        double.start_coordinator(0)
    await sound(access, commits=1)


async def test_a_restarted_server_is_met_again(tmp_path) -> None:
    with arango_double(file=tmp_path / "store") as kept:
        access = Access(urls=(kept.url,), database="kept", username="root", password=kept.password)
        opened = await ArangoRegistry.open(access, FakeClock(), patience=replace(QUICK, attempts=8))
        try:
            await opened.commit(first())
            kept.restart()
            assert await opened.commit(first()) == 1
            assert isinstance(await opened.get(TRIAGE), Found)
        finally:
            await opened.close()
