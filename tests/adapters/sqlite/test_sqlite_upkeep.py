"""Looking after the file: what a check finds, what pruning keeps, and what a backup is worth."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.registry import AgentState, JournalPhase, Record, Write
from reconciler.ports import Upkeep
from tests.contracts.values import TRIAGE, fact, fleet, health, intent, record, revision, write
from tests.doubles.clock import FakeClock

OTHER = AgentName(namespace="support", name="other")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "registry.db"


@pytest_asyncio.fixture
async def registry(path: Path):
    opened = await SqliteRegistry.open(path, FakeClock())
    yield opened
    await opened.close()


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


async def filled(registry: SqliteRegistry, writes: int = 5) -> None:
    for number in range(1, writes + 1):
        await registry.commit(
            write(
                replace(record(version=number), revision=number, document={"description": "Sorts refunds"}),
                journal=(intent(f"j{number}", JournalPhase.DONE),),
                revisions=(revision(number),),
                audit=(fact(f"a{number}"),),
                fleet=fleet(number),
                clusters=(health(version=number),),
            )
        )


async def told(registry: SqliteRegistry) -> list[str]:
    return [f"{fault.where}: {fault.what}" for fault in await registry.integrity()]


async def test_a_whole_registry_has_no_faults(registry: SqliteRegistry) -> None:
    assert isinstance(registry, Upkeep)
    assert await registry.integrity() == ()
    await filled(registry)
    assert await registry.integrity() == ()


@pytest.mark.parametrize(
    ("statement", "where", "what"),
    [
        ("UPDATE records SET version = 9", "support/triage", "the columns of its row"),
        ("UPDATE records SET state = 'running'", "support/triage", "the columns of its row"),
        ("UPDATE records SET name = 'miner'", "support/miner", "the columns of its row"),
        ("UPDATE records SET body = x'7b7d'", "support/triage", "its record cannot be read"),
        ("UPDATE records SET document = x'00'", "support/triage", "its record cannot be read"),
        ("UPDATE records SET manifests = x'00'", "support/triage", "its record cannot be read"),
        ("DELETE FROM feed WHERE seq = 5", "support/triage", "the change feed has no such line"),
        ("DELETE FROM feed WHERE seq = 5", "feed", "it ends with change 4, and 5 was written last"),
        ("UPDATE head SET seq = 7", "feed", "it ends with change 5, and 7 was written last"),
        ("UPDATE search SET state = 'degraded'", "support/triage", "what is searched of it"),
        ("DELETE FROM facts", "support/triage", "what is searched of it"),
        ("UPDATE vals SET value = 'other' WHERE value = 'support'", "support/triage", "what is searched of it"),
        ("DELETE FROM words", "support/triage", "what is searched of it"),
        ("DELETE FROM search", "support/triage", "what is searched of it"),
        ("UPDATE search SET name = 'ghost'", "search", "1 of those that are searched are not on record"),
        ("UPDATE paths SET records = records + 1 WHERE path = 'labels.team'", "search", "of 1 paths it is wrong"),
        ("UPDATE fleet SET body = x'7b'", "fleet", "cannot be read"),
        ("UPDATE clusters SET body = x'7b'", "clusters", "cannot be read"),
        ("UPDATE journal SET body = x'7b'", "journal", "cannot be read"),
        ("UPDATE revisions SET body = x'7b'", "revisions", "cannot be read"),
    ],
)
async def test_rows_that_contradict_themselves_are_named(
    registry: SqliteRegistry, path: Path, statement: str, where: str, what: str
) -> None:
    await filled(registry)
    tamper(path, statement)
    assert any(line.startswith(f"{where}: ") and what in line for line in await told(registry)), await told(registry)


async def test_an_index_that_lies_is_found(registry: SqliteRegistry, path: Path) -> None:
    """What stands in the index is of another column than it is said to be of: opening does not look so far."""
    await filled(registry)
    await registry.close()
    tamper(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX records_by_state ON records (id)' "
        "WHERE name = 'records_by_state'",
    )
    again = await SqliteRegistry.open(path, FakeClock())
    assert any("records_by_state" in line for line in await told(again))
    await again.close()


# history by age


def pruning() -> Write:
    return write(audit=(fact("prune", None),))


def aged(version: int, at_ms: int, **changes: Any) -> Record:
    return replace(record(version=version), revision=version, updated_ms=at_ms, **changes)


async def numbers(registry: SqliteRegistry, name: AgentName = TRIAGE) -> list[int]:
    return [item.number for item in await registry.revisions(name)]


async def test_old_history_goes_and_what_a_live_agent_needs_stays(registry: SqliteRegistry) -> None:
    """Its last good revision is 2 (see record), its newest is 8; the rest of what is old goes."""
    for number in range(1, 9):
        await registry.commit(
            write(
                aged(number, number * 100),
                revisions=(replace(revision(number), at_ms=number * 100),),
                journal=(replace(intent(f"j{number}", JournalPhase.DONE), at_ms=number * 100),),
                audit=(fact(f"a{number}"),),
            )
        )
    await registry.commit(write(journal=(replace(intent("open"), at_ms=1),)))
    pretended = await registry.prune(before_ms=10_000, said=None)
    assert await numbers(registry) == [8, 7, 6, 5, 4, 3, 2, 1], "pretending takes nothing away"
    done = await registry.prune(before_ms=10_000, said=pruning())
    assert done == pretended
    assert (done.revisions, done.changes, done.journal) == (6, 7, 8)
    assert await numbers(registry) == [8, 2]
    assert [item async for item in registry.changes(0)] == [(8, TRIAGE)]
    assert [entry.id for entry in await registry.open_journal()] == ["open"]
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 9), "audit is never pruned"
    assert [entry.fact.action async for entry in registry.audit(since=8)] == ["prune"]
    assert await registry.integrity() == ()


async def test_young_history_stays(registry: SqliteRegistry) -> None:
    for number in range(1, 7):
        await registry.commit(
            write(
                aged(number, number * 100),
                replace(record(OTHER, version=number), updated_ms=number * 100, revision=number),
                revisions=(replace(revision(number), at_ms=number * 100),),
                journal=(replace(intent(f"j{number}", JournalPhase.DONE), at_ms=number * 100),),
            )
        )
    done = await registry.prune(before_ms=301, said=pruning())
    assert await numbers(registry) == [6, 5, 4, 2], "of 1, 2 and 3, which are old, 2 is good"
    assert done.journal == 3
    assert len([item async for item in registry.changes(0)]) == 12, "nothing proves how old changes are: they stay"


async def test_the_age_of_a_change_is_proven_by_a_later_one(registry: SqliteRegistry) -> None:
    for number in range(1, 4):
        await registry.commit(write(aged(number, number * 100)))
    await registry.commit(write(replace(record(OTHER), updated_ms=350)))
    await registry.commit(write(aged(4, 900)))
    await registry.commit(write(aged(5, 1000)))
    done = await registry.prune(before_ms=400, said=pruning())
    assert done.changes == 3
    assert [item async for item in registry.changes(0)] == [(4, OTHER), (5, TRIAGE), (6, TRIAGE)]


async def test_the_history_of_who_is_gone_goes_with_its_age(registry: SqliteRegistry) -> None:
    await registry.commit(write(aged(1, 100), revisions=(replace(revision(1), at_ms=100),)))
    await registry.commit(write(aged(2, 200, state=AgentState.GONE), audit=(fact("delete"),)))
    assert (await registry.prune(before_ms=1000, said=pruning())).revisions == 1
    assert await numbers(registry) == []
    assert [entry.fact.action async for entry in registry.audit(name=TRIAGE)] == ["delete"]


async def test_a_write_may_be_repeated_after_pruning(registry: SqliteRegistry) -> None:
    await filled(registry)
    last = write(replace(record(version=6), updated_ms=9), audit=(fact(),), op_id="last")
    seq = await registry.commit(last)
    await registry.prune(before_ms=10_000, said=pruning())
    assert await registry.commit(last) == seq
    assert (await registry.verify_audit()).count == 7, "the sixth write, and the pruning"


# backup


async def test_a_backup_is_the_registry_of_that_moment(registry: SqliteRegistry, tmp_path: Path) -> None:
    await filled(registry)
    target = tmp_path / "backup.db"
    done = await registry.backup(target)
    verdict = await registry.verify_audit()
    assert (done.seq, done.audit_seq, done.audit_hash, done.records) == (5, 5, verdict.head, 1)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert done.size == target.stat().st_size
    assert sorted(item.name for item in tmp_path.iterdir()) == ["backup.db", "state"], "one file, nothing beside it"
    await registry.commit(write(aged(6, 6)))
    restored = await SqliteRegistry.open(target, FakeClock())
    state = await restored.snapshot()
    assert isinstance(state, Found)
    assert (state.value.seq, state.value.records[TRIAGE].version) == (5, 5)
    assert (await restored.verify_audit()) == verdict
    assert await restored.integrity() == ()
    await restored.close()


async def test_a_backup_is_whole_while_others_write(registry: SqliteRegistry, path: Path, tmp_path: Path) -> None:
    other = await SqliteRegistry.open(path, FakeClock())
    ends = asyncio.Event()

    async def writing() -> int:
        version = 0
        while not ends.is_set():
            version += 1
            await other.commit(write(replace(record(version=version), message="x" * 2000), audit=(fact(),)))
        return version

    writer = asyncio.create_task(writing())
    seen = []
    for _ in range(10):
        done = await registry.backup(tmp_path / "backup.db")
        seen.append(done.seq)
        copy = await SqliteRegistry.open(tmp_path / "backup.db", FakeClock())
        verdict = await copy.verify_audit()
        assert (verdict.sound, verdict.count, verdict.head) == (True, done.seq, done.audit_hash)
        await copy.close()
    ends.set()
    assert seen == sorted(seen)
    assert await writer >= seen[-1]
    await other.close()


async def test_a_backup_that_cannot_be_written_leaves_what_was_there(registry: SqliteRegistry, tmp_path: Path) -> None:
    await filled(registry)
    with pytest.raises(RegistryError, match="regular file"):
        await registry.backup(tmp_path / "state")
    with pytest.raises(RegistryError, match="cannot write"):
        await registry.backup(tmp_path / "no" / "such" / "backup.db")


@pytest.mark.parametrize("name", ["registry.db", "registry.db-wal", "other.db", "../state/registry.db"])
async def test_the_registry_is_never_overwritten_by_its_backup(registry: SqliteRegistry, path: Path, name: str) -> None:
    await filled(registry)
    with pytest.raises(RegistryError, match="where the registry itself"):
        await registry.backup(path.parent / name)
    assert await registry.integrity() == ()


async def test_a_damaged_registry_is_not_put_over_a_good_backup(
    registry: SqliteRegistry, path: Path, tmp_path: Path
) -> None:
    await filled(registry)
    target = tmp_path / "backup.db"
    await registry.backup(target)
    good = target.read_bytes()
    await registry._database.run("fold", lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\x55" * 4096)
    again = SqliteRegistry(registry._database, FakeClock())
    await again._database.run("forget", lambda c: c.execute("PRAGMA shrink_memory").fetchall())
    with pytest.raises(RegistryError, match=r"damaged|malformed"):
        await again.backup(target)
    assert target.read_bytes() == good
    assert sorted(item.name for item in tmp_path.iterdir()) == ["backup.db", "state"]
