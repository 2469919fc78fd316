"""Writes that the disk cuts off at any byte: nothing is half there, the same write may be repeated, and it is said why.

RLIMIT_FSIZE makes the system refuse what would make a file longer: the log in the middle of a commit, or the file
itself while the log is folded into it. max_page_count makes SQLite find its disk full, at any page.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import OutcomeUnknown, RegistryError
from reconciler.model.objects import Found
from reconciler.model.registry import Write
from tests.contracts.values import TRIAGE, fact, intent, record, revision, write
from tests.doubles.clock import FakeClock

STEP = 6000
"""Bytes between two places that are tried: less than two pages, and no multiple of them."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest_asyncio.fixture
async def registry(path: Path):
    opened = await SqliteRegistry.open(path, FakeClock())
    yield opened
    await opened.close()


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def pragma(registry: SqliteRegistry, text: str) -> int:
    answer = await registry._database.run("set", lambda c: c.execute(f"PRAGMA {text}").fetchall())
    return int(answer[0][0]) if answer else 0


def numbered(number: int) -> Write:
    """A write with something for every table, and a few pages long."""
    return write(
        replace(record(version=number), message=f"{number}" * 3000),
        op_id=f"op-{number}",
        journal=(intent(f"j{number}"),),
        revisions=(revision(number),),
        audit=(fact(f"a{number}"), fact("x" * 8000)),
    )


async def assert_there(registry: SqliteRegistry, writes: int) -> None:
    """So many writes are there, each whole and once."""
    assert await registry.integrity() == ()
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 2 * writes), verdict.reason
    found = await registry.get(TRIAGE)
    assert isinstance(found, Found)
    assert found.value.version == writes
    assert [seq async for seq, _ in registry.changes(0)] == list(range(1, writes + 1))
    assert len(await registry.open_journal()) == len(await registry.revisions(TRIAGE)) == writes


async def attempt(registry: SqliteRegistry, one: Write) -> str:
    """Try a write; answers how it ended. Only what the port names may happen, and it says what to do."""
    try:
        await registry.commit(one)
    except OutcomeUnknown as error:
        return "unknown" if error.hint else "no hint"
    except RegistryError as error:
        return "refused" if error.hint else "no hint"
    return "done"


@pytest.mark.parametrize("folding", [False, True])
async def test_a_file_that_cannot_grow_at_any_byte_leaves_whole_writes(
    registry: SqliteRegistry, path: Path, folding: bool
) -> None:
    """Each write is first tried with less and less room for it to fail in, then repeated with room enough.

    With `folding` the log goes into the file after each write, so that this is what fails too.
    """
    await pragma(registry, f"wal_autocheckpoint = {1 if folding else 0}")
    log = path.with_name("registry.db-wal")
    await registry.commit(numbered(1))
    ends: Counter[str] = Counter()
    number, room = 1, 0
    while not (ends["done"] and room > 300_000):
        number += 1
        one = numbered(number)
        start = 0 if folding else log.stat().st_size
        with no_file_longer_than(start + room):
            end = await attempt(registry, one)
        ends[end] += 1
        if end == "refused":
            await assert_there(registry, number - 1)
        await registry.commit(one)
        room += STEP
    assert ends["no hint"] == 0
    assert ends["refused"] + ends["unknown"] > 5, ends
    await assert_there(registry, number)
    await registry.close()
    again = await SqliteRegistry.open(path, FakeClock())
    await assert_there(again, number)
    await again.close()


async def test_a_disk_that_is_full_at_any_page_refuses_and_keeps_what_was(registry: SqliteRegistry) -> None:
    await registry.commit(numbered(1))
    ends: Counter[str] = Counter()
    for number in range(2, 30):
        pages = await pragma(registry, "page_count")
        room = number % 6
        await pragma(registry, f"max_page_count = {pages + room}")
        ends[await attempt(registry, numbered(number))] += 1
        await assert_there(registry, await _version(registry))
        await pragma(registry, "max_page_count = 1000000")
        await registry.commit(numbered(number))
        await assert_there(registry, number)
    assert set(ends) == {"refused", "done"}, ends
    assert ends["refused"] > 5


async def _version(registry: SqliteRegistry) -> int:
    found = await registry.get(TRIAGE)
    assert isinstance(found, Found)
    return found.value.version


async def test_a_full_disk_is_said_when_a_registry_is_made(path: Path) -> None:
    for size in (0, 3000, 9000, 40_000):
        with no_file_longer_than(size), pytest.raises(RegistryError, match=r"registry\.db") as caught:
            await SqliteRegistry.open(path, FakeClock())
        assert caught.value.hint
    registry = await SqliteRegistry.open(path, FakeClock())
    await registry.commit(numbered(1))
    await assert_there(registry, 1)
    await registry.close()


async def test_a_backup_without_room_leaves_the_older_one(registry: SqliteRegistry, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "backup.db"
    await registry.backup(target)
    before = target.read_bytes()
    await registry.commit(numbered(1))
    for size in (0, 5000, 60_000):
        with no_file_longer_than(size), pytest.raises(RegistryError, match="backup"):
            await registry.backup(target)
    assert target.read_bytes() == before
    assert [item.name for item in target.parent.iterdir()] == ["backup.db"]
    await assert_there(registry, 1)
