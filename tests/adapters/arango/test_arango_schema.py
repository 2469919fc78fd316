"""Opening: what is made where nothing is, by whom, under which lock; and what doctor finds."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from arango.client import ArangoClient

from reconciler.adapters.arango import Access, ArangoRegistry, Patience, schema, upkeep
from reconciler.adapters.arango.checks import examine
from reconciler.model.checks import Finding, State
from reconciler.model.errors import RegistryError
from reconciler.model.objects import Unreadable
from reconciler.model.query import Comparator, Compare, Query
from reconciler.model.registry import JournalPhase
from tests.contracts.values import intent, record, write
from tests.doubles.arango.double import ArangoDouble, arango_double
from tests.doubles.clock import FakeClock

QUICK = Patience(attempts=2, pause_s=0.001, read_s=10.0, lock_s=1)
Grant = Callable[[str], Access]


@pytest.fixture
def access(double: ArangoDouble) -> Access:
    name = f"schema-{secrets.token_hex(6)}"
    return Access(urls=(double.url,), database=name, username="root", password=double.password)


@pytest.fixture
def root(double: ArangoDouble) -> Any:
    return lambda name="_system": ArangoClient(hosts=double.url).db(name, "root", double.password)


@pytest.fixture
def grant(root, access: Access) -> Grant:
    """A user with some right on the registry's database, and none elsewhere."""

    def make(right: str) -> Access:
        system = root()
        if not system.has_database(access.database):
            system.create_database(access.database)
        name = f"user-{secrets.token_hex(4)}"
        system.create_user(name, "invented")
        system.update_permission(name, right, access.database)
        return replace(access, username=name, password="invented")

    return make


async def opening(access: Access) -> ArangoRegistry:
    return await ArangoRegistry.open(access, FakeClock(), patience=QUICK)


def found(access: Access) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(access, QUICK)}


async def test_who_may_read_and_write_one_database_needs_no_more(grant) -> None:
    access = grant("rw")
    registry = await opening(access)
    try:
        assert await registry.commit(write(record())) == 1
    finally:
        await registry.close()
    looks = await asyncio.to_thread(found, access)
    assert {finding.state for finding in looks.values()} == {State.OK}, looks


async def test_who_may_not_make_what_is_missing_is_told_what(grant) -> None:
    with pytest.raises(RegistryError, match="collection meta is missing, and this user may not make it") as caught:
        await opening(grant("ro"))
    assert "read-write access" in caught.value.hint


async def test_who_may_only_read_reads_and_is_refused_by_name(grant, access) -> None:
    whole = await opening(access)
    await whole.commit(write(record()))
    await whole.close()
    reader = await opening(grant("ro"))
    try:
        assert not isinstance(await reader.snapshot(), Unreadable)
        with pytest.raises(RegistryError, match="cannot write: read only"):
            await reader.commit(write(record(version=2)))
    finally:
        await reader.close()


async def test_a_database_that_is_missing_is_told_to_who_may_not_make_it(grant) -> None:
    stranger = replace(grant("rw"), database=f"elsewhere-{secrets.token_hex(4)}")
    with pytest.raises(RegistryError, match="database not found") as caught:
        await opening(stranger)
    assert "administrator" in caught.value.hint


async def test_of_many_that_open_at_once_one_makes_it_and_all_can_work(access) -> None:
    opened = await asyncio.gather(*(opening(access) for _ in range(6)))
    try:
        assert await opened[0].commit(write(record())) == 1
        assert [change async for change in opened[-1].changes(0)] == [(1, record().name)]
    finally:
        for one in opened:
            await one.close()


async def test_a_lock_of_a_process_that_is_gone_ends(access, root) -> None:
    root().create_database(access.database)
    db = root(access.database)
    db.create_collection("meta").insert({"_key": "lock", "holder": "gone", "expires_ms": 0})
    registry = await opening(access)
    await registry.close()
    assert not db.collection("meta").has("lock")


async def test_a_lock_that_is_held_is_waited_for_and_told(access, root, monkeypatch) -> None:
    monkeypatch.setattr(schema, "LOCK_WAIT_S", 0.0)
    root().create_database(access.database)
    db = root(access.database)
    db.create_collection("meta").insert({"_key": "lock", "holder": "other", "expires_ms": 2**52})
    with pytest.raises(RegistryError, match="made ready by another process"):
        await opening(access)


async def test_a_database_of_a_newer_version_is_refused(access, root) -> None:
    await (await opening(access)).close()
    root(access.database).collection("meta").update({"_key": "schema", "version": 99})
    with pytest.raises(RegistryError, match="schema version 99"):
        await opening(access)


async def test_a_database_of_another_program_is_refused(access, root) -> None:
    root().create_database(access.database)
    root(access.database).create_collection("agents")
    with pytest.raises(RegistryError, match="another program: agents"):
        await opening(access)


async def test_a_registry_that_is_half_filled_is_not_used(access, root) -> None:
    registry = await opening(access)
    root(access.database).collection("counters").update({"_key": "head", "loading": True})
    with pytest.raises(RegistryError, match="import into this registry"):
        await registry.commit(write(record()))
    await registry.close()
    with pytest.raises(RegistryError, match="import into this registry"):
        await opening(access)
    again = await ArangoRegistry.open(access, FakeClock(), patience=QUICK, half_filled=True)
    await again.close()


@pytest.mark.parametrize("field", ["body", "document", "manifests"])
async def test_damaged_documents_are_unreadable_and_named(access, root, field) -> None:
    registry = await opening(access)
    try:
        await registry.commit(write(record()))
        root(access.database).collection("agents").update({"_key": "support:triage", field: "\\not it"})
        seen = await registry.get(record().name)
        assert isinstance(seen, Unreadable)
        assert "damaged" in seen.reason
    finally:
        await registry.close()


@pytest.mark.parametrize(
    "change",
    [
        {"fact": "{}"}, {"fact": 7}, {"fact": None}, {"at_ms": "x"}, {"hash": "0"}, {"previous": None},
        {"agent": "support/other"}, {"seq": 9}, {"seq": "x"}, {"seq": None},
    ],
)  # fmt: skip
async def test_any_changed_audit_entry_is_found_and_named(access, root, change) -> None:
    from tests.contracts.values import fact

    registry = await opening(access)
    try:
        await registry.commit(write(audit=tuple(fact(f"a{number}") for number in range(5))))
        key = f"{3:020d}"
        root(access.database).collection("audit").update({"_key": key, **change})
        verdict = await registry.verify_audit()
        assert (verdict.sound, verdict.broken_seq) == (False, 3)
    finally:
        await registry.close()


async def test_audit_entries_that_are_cut_off_or_put_in_are_found(access, root) -> None:
    from tests.contracts.values import fact

    registry = await opening(access)
    try:
        await registry.commit(write(audit=tuple(fact(f"a{number}") for number in range(5))))
        db = root(access.database)
        audit = db.collection("audit")
        last = audit.get(f"{5:020d}")
        audit.insert({**{k: v for k, v in last.items() if not k.startswith("_")}, "_key": f"{6:020d}", "seq": 6})
        assert (await registry.verify_audit()).broken_seq == 6
        db.aql.execute("REMOVE @key IN audit", bind_vars={"key": f"{6:020d}"})
        assert (await registry.verify_audit()).sound
        db.aql.execute("REMOVE @key IN audit", bind_vars={"key": f"{5:020d}"})
        assert (await registry.verify_audit()).broken_seq == 5
    finally:
        await registry.close()


# upkeep


async def test_what_is_searched_is_made_anew_when_its_version_is_another(access, root) -> None:
    registry = await opening(access)
    await registry.commit(write(record()))
    await registry.close()
    db = root(access.database)
    db.collection("agents").update({"_key": "support:triage", "pairs": [], "words": [], "facts": None, "paths": []})
    db.collection("meta").update({"_key": "schema", "facts": 0})
    again = await opening(access)
    try:
        found_ = await again.find(Query(Compare("labels.team", Comparator.EQUAL, "support")), limit=5)
        assert [one.name for one in found_.records] == [record().name]
    finally:
        await again.close()


async def test_what_nobody_needs_is_dropped_and_the_feed_still_has_every_agent(access, root, monkeypatch) -> None:
    registry = await opening(access)
    await registry.commit(write(record(), journal=(intent("done", JournalPhase.DONE), intent("open"))))
    for version in range(2, 6):
        await registry.commit(write(record(version=version), journal=(intent(f"j{version}", JournalPhase.DONE),)))
    await registry.close()
    for name in ("KEPT_FEED", "KEPT_OPERATIONS", "KEPT_JOURNAL"):
        monkeypatch.setattr(upkeep, name, 2)
    again = await opening(access)
    try:
        assert [seq async for seq, _ in again.changes(0)] == [3, 4, 5]
        assert [entry.id for entry in await again.open_journal()] == ["open"]
        assert root(access.database).collection("operations").count() == 3
        assert root(access.database).collection("apply_journal").count() == 4
    finally:
        await again.close()


# doctor


async def test_doctor_names_what_is_missing_and_what_makes_it(access, root) -> None:
    await (await opening(access)).close()
    db = root(access.database)
    index = next(one for one in db.collection("agents").indexes() if one["name"] == "by_pair")
    db.collection("agents").delete_index(index["id"])
    db.delete_collection("leases")
    looks = await asyncio.to_thread(found, access)
    schema_ = looks["arangodb schema"]
    assert schema_.state is State.FAILED
    assert 'db.agents.ensureIndex({"type": "persistent", "name": "by_pair", "fields": ["pairs[*]"]' in schema_.todo
    assert "db._create('leases')" in schema_.todo
    assert looks["arangodb topology"].state is State.OK
    assert looks["arangodb rights"].state is State.WARNING, "root is more than is needed"


async def test_doctor_knows_a_cluster_by_its_coordinators() -> None:
    with arango_double(coordinators=2) as cluster:
        access = Access(urls=tuple(cluster.urls), database="agents", username="root", password=cluster.password)
        await (await opening(access)).close()
        looks = await asyncio.to_thread(found, access)
        assert "one shard" in looks["arangodb topology"].seen
        cluster.stop_coordinator(1)
        looks = await asyncio.to_thread(found, access)
        assert looks[f"arangodb {cluster.urls[1]}"].state is State.FAILED


async def test_doctor_says_what_right_is_missing(grant, access) -> None:
    await (await opening(access)).close()
    looks = await asyncio.to_thread(found, grant("ro"))
    assert looks["arangodb rights"].state is State.FAILED
    assert "grantDatabase" in looks["arangodb rights"].todo


def test_doctor_warns_of_a_way_that_is_not_encrypted() -> None:
    nobody = Access(urls=("http://192.0.2.1:1",), database="a", username="u", password="p")
    findings = examine(nobody, replace(QUICK, attempts=1, connect_s=0.01))
    assert findings[0].state is State.WARNING
    assert "not encrypted" in findings[0].seen
    assert findings[1].state is State.FAILED
