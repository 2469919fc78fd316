"""Looking after the file: what a check finds, what pruning keeps, and what a backup is worth."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import RegistryError
from reconciler.model.objects import Found
from reconciler.ports import Upkeep
from tests.contracts.values import MINER, TRIAGE, fact, filled, record, write
from tests.doubles.clock import FakeClock


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
    await registry.commit(write(replace(record(version=6), revision=6)))
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


async def test_a_backup_that_is_used_as_a_registry_is_not_written_over(
    registry: SqliteRegistry, tmp_path: Path
) -> None:
    """What was written to it since lies in a log beside it, and would be laid on the new copy by who opens that."""
    await registry.commit(write(record()))
    target = tmp_path / "backup.db"
    await registry.backup(target)
    used = await SqliteRegistry.open(target, FakeClock())
    await used.commit(write(record(MINER), audit=(fact(),)))
    with pytest.raises(RegistryError, match="in use"):
        await registry.backup(target)
    assert await used.integrity() == ()
    await used.close()
    assert (await registry.backup(target)).records == 1


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
