"""Looking after a registry on ArangoDB's double: what a check names, what much history costs, and a way back."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from arango.client import ArangoClient

from reconciler.adapters.arango import Access, ArangoRegistry, keeping
from reconciler.adapters.arango.schema import MIGRATIONS
from reconciler.model.errors import RegistryError
from reconciler.model.exported import from_line
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import JournalPhase
from reconciler.model.transfer import Kept
from tests.contracts.test_health_history_contract import HOUR, change, point
from tests.contracts.values import MINER, TRIAGE, fact, fleet, health, intent, record, revision, write
from tests.doubles.arango.double import ArangoDouble
from tests.doubles.clock import FakeClock


@pytest.fixture
def access(double: ArangoDouble) -> Access:
    name = f"keeping-{secrets.token_hex(6)}"
    return Access(urls=(double.url,), database=name, username="root", password=double.password)


@pytest_asyncio.fixture
async def registry(access: Access):
    opened = await ArangoRegistry.open(access, FakeClock())
    yield opened
    await opened.close()


@pytest.fixture
def tamper(double: ArangoDouble, access: Access):
    """Runs AQL as an administrator who knows no better."""
    client = ArangoClient(hosts=double.url)

    def change(*statements: str) -> None:
        db: Any = client.db(access.database, "root", double.password)
        for statement in statements:
            db.aql.execute(statement)

    yield change
    client.close()


FAULTS = [
    ("UPDATE 'support:a0' WITH {version: 9} IN agents", "support/a0: what stands beside its record", ": version"),
    ("UPDATE 'support:a1' WITH {needs: [9]} IN agents", "support/a1: what stands beside its record", ": needs"),
    ("UPDATE 'support:a2' WITH {words: ['x']} IN agents", "support/a2: what stands beside its record", ": words"),
    ("UPDATE 'support:a3' WITH {body: '{}'} IN agents", "support/a3: its record cannot be read", ""),
    ("UPDATE 'support:a4' WITH {document: 'AA=='} IN agents", "support/a4: its record cannot be read", ""),
    (
        "FOR d IN changes FILTER d.seq == 6 REMOVE d IN changes",
        "support/a5: its last write is change 6",
        "no such line",
    ),
    ("UPDATE 'head' WITH {seq: 9} IN counters", "changes: it ends with change 7", "and 9 was written last"),
    ("FOR d IN fleet UPDATE d WITH {body: '{'} IN fleet", "fleet: ", "cannot be read"),
    ("FOR d IN clusters UPDATE d WITH {body: '{'} IN clusters", "clusters: ", "cannot be read"),
    ("FOR d IN revisions UPDATE d WITH {body: '{'} IN revisions", "revisions: ", "cannot be read"),
    ("FOR d IN apply_journal UPDATE d WITH {body: '{'} IN apply_journal", "apply_journal: ", "cannot be read"),
    ("FOR d IN health_changes UPDATE d WITH {body: '{'} IN health_changes", "health_changes: ", "cannot be read"),
    ("FOR d IN health_points UPDATE d WITH {body: '{'} IN health_points", "health_points: ", "cannot be read"),
]


async def test_documents_that_contradict_themselves_are_named(registry, tamper) -> None:
    names = [AgentName(namespace="support", name=f"a{number}") for number in range(7)]
    await registry.commit(
        write(
            *(replace(record(name), reservations=()) for name in names),
            fleet=fleet(1),
            clusters=(health(),),
            revisions=(revision(1),),
            journal=(intent("j"),),
        )
    )
    await registry.record_health([change()], [point(TRIAGE, HOUR, 10)], op_id="health")
    assert await registry.integrity() == ()
    tamper(*(statement for statement, _, _ in FAULTS))
    told = [f"{fault.where}: {fault.what}" for fault in await registry.integrity()]
    for _, begins, has in FAULTS:
        assert any(line.startswith(begins) and has in line for line in told), (begins, told)
    assert len({line.partition(": ")[0] for line in told}) == len(FAULTS), "a6, which is whole, is not named"


async def test_much_is_taken_away_in_several_writes(registry, monkeypatch) -> None:
    monkeypatch.setattr(keeping, "MOST", 3)
    for number in range(1, 9):
        await registry.commit(write(replace(record(version=number), updated_ms=number), revisions=(revision(number),)))
    counted = await registry.prune(before_ms=100, said=None)
    assert await registry.prune(before_ms=100, said=write(audit=(fact("prune", None),))) == counted
    assert (counted.revisions, counted.changes) == (6, 7), "2 is good, and 3 is its own"
    assert [entry.fact.action async for entry in registry.audit()] == ["prune"], "said once"
    assert (await registry.prune(before_ms=100, said=None)).total == 0


async def test_ids_of_writes_go_but_for_the_newest(registry, monkeypatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_OPERATIONS", 2)
    for number in range(1, 6):
        await registry.commit(write(replace(record(version=number), updated_ms=number), op_id=f"one-{number}"))
    assert (await registry.prune(before_ms=5, said=None)).operations == 0, "nothing proves how old they are"
    assert (await registry.prune(before_ms=6, said=None)).operations == 3


async def test_a_backup_goes_back_into_an_empty_database(registry, access, tmp_path: Path) -> None:
    await registry.commit(write(record(), fleet=fleet(1), revisions=(revision(1),), audit=(fact(),)))
    await registry.commit(write(record(MINER), audit=(fact("create", MINER),)))
    await registry.backup(tmp_path / "backup.jsonl")

    async def lines() -> AsyncIterator[Kept]:
        for number, line in enumerate((tmp_path / "backup.jsonl").read_bytes().splitlines(keepends=True), 1):
            yield from_line(line, number)

    restored = await ArangoRegistry.open(replace(access, database=f"{access.database}-again"), FakeClock())
    try:
        await restored.load(lines())
        assert await restored.snapshot() == await registry.snapshot()
        assert await restored.verify_audit() == await registry.verify_audit()
        assert await restored.integrity() == ()
    finally:
        await restored.close()


async def test_a_backup_that_fails_leaves_what_was_there(registry, tamper, tmp_path: Path) -> None:
    await registry.commit(write(record(), audit=(fact(),)))
    target = tmp_path / "backup.jsonl"
    await registry.backup(target)
    good = target.read_bytes()
    tamper("FOR d IN audit UPDATE d WITH {at_ms: 7} IN audit")
    with pytest.raises(RegistryError, match="not whole: its audit chain is broken"):
        await registry.backup(target)
    assert target.read_bytes() == good
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(RegistryError, match="cannot write"):
        await registry.backup(tmp_path / "no" / "such" / "backup.jsonl")


async def test_what_an_older_version_wrote_has_its_age_found_out(registry, access, tamper) -> None:
    """A database of the version before is opened; what it holds is as old as its bodies say."""
    for number in range(1, 5):
        await registry.commit(
            write(
                replace(record(version=number), revision=number, updated_ms=number),
                revisions=(revision(number),),
                journal=(replace(intent(f"j{number}", JournalPhase.DONE), at_ms=number),),
            )
        )
    counted = await registry.prune(before_ms=100, said=None)
    assert counted.total == 2 + 3 + 4
    tamper(
        "FOR d IN agents REPLACE UNSET(d, 'needs', 'updated_ms') IN agents",
        "FOR d IN revisions REPLACE UNSET(d, 'of', 'at_ms') IN revisions",
        "FOR d IN apply_journal REPLACE UNSET(d, 'at_ms') IN apply_journal",
    )
    assert (await registry.prune(before_ms=100, said=None)).total == 0, "of no known age is not old"
    tamper(f"UPDATE 'schema' WITH {{version: {len(MIGRATIONS) - 1}}} IN meta")
    again = await ArangoRegistry.open(access, FakeClock())
    try:
        assert await again.prune(before_ms=100, said=None) == counted
        assert await again.integrity() == ()
    finally:
        await again.close()


async def test_a_registry_that_was_put_back_is_read_anew(registry: ArangoRegistry, tamper: Any) -> None:
    """From a backup, while a program runs that knows what came after that."""
    await registry.commit(write(record()))
    await registry.commit(write(record(MINER)))
    before = await registry.snapshot()
    tamper(
        "FOR d IN agents FILTER d.seq > 1 REMOVE d IN agents",
        "FOR d IN changes FILTER d.seq > 1 REMOVE d IN changes",
        "UPDATE 'head' WITH {seq: 1} IN counters",
    )
    found = await registry.snapshot()
    assert isinstance(before, Found)
    assert isinstance(found, Found)
    assert (found.value.seq, list(found.value.records)) == (1, [TRIAGE])
