"""What the SQLite registry does when the disk, the file, another process or a forger is against it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.adapters.sqlite.schema import MIGRATIONS
from reconciler.adapters.stored.codec import encode
from reconciler.model.audit import next_entry
from reconciler.model.errors import OutcomeUnknown, RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Unreadable
from reconciler.model.registry import AgentState, JournalPhase, Write
from reconciler.query.checking import read_query
from tests.contracts.values import TRIAGE, fact, health, intent, record, revision, write
from tests.doubles.clock import FakeClock

ROOT = Path(__file__).parents[3]
WRITER = Path(__file__).with_name("writer.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "registry.db"


@pytest_asyncio.fixture
async def opened(path: Path):
    registries: list[SqliteRegistry] = []

    async def opener() -> SqliteRegistry:
        registries.append(await SqliteRegistry.open(path, FakeClock()))
        return registries[-1]

    yield opener
    for registry in registries:
        await registry.close()


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# files


async def test_the_file_and_its_folder_are_the_users_alone(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record()))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {
        "registry.db": 0o600,
        "registry.db-wal": 0o600,
        "registry.db-shm": 0o600,
    }


async def test_a_file_that_others_could_read_is_closed_to_them(path: Path, opened: Any) -> None:
    await (await opened()).close()
    path.chmod(0o644)
    await opened()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_writes_are_durable_before_they_are_answered(opened: Any) -> None:
    registry = await opened()
    settings = await registry._database.run(
        "look",
        lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")],
    )
    assert settings == ["wal", 2]


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 40, b"\0" * 8192])
async def test_a_file_that_is_no_database_is_said_to_be(path: Path, opened: Any, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RegistryError, match=r"registry\.db") as caught:
        await opened()
    assert caught.value.hint
    assert path.read_bytes() == content, "and it is left alone"


async def test_a_database_of_another_program_is_left_alone(path: Path, opened: Any) -> None:
    path.parent.mkdir()
    tamper(path, "CREATE TABLE theirs (x)")
    with pytest.raises(RegistryError, match="another program"):
        await opened()
    tables = sqlite3.connect(path).execute("SELECT name FROM sqlite_schema").fetchall()
    assert tables == [("theirs",)]


async def test_a_newer_schema_is_refused(path: Path, opened: Any) -> None:
    await (await opened()).close()
    tamper(path, f"INSERT INTO migrations VALUES ({len(MIGRATIONS) + 1}, 0)")  # noqa: S608  # a number
    with pytest.raises(RegistryError, match="schema version") as caught:
        await opened()
    assert "newer reconciler" in caught.value.hint


SINCE = {
    2: ("TABLE clusters",),
    3: tuple(f"TABLE {name}" for name in ("projection", "search", "paths", "vals", "facts", "words")),
    4: ("TABLE health_changes", "TABLE health_points"),
    5: ("COLUMN says",),
}
"""What each version of the schema added."""


def without(part: str) -> str:
    return f"ALTER TABLE leases DROP {part}" if part.startswith("COLUMN") else f"DROP {part}"


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_a_file_of_an_older_version_is_brought_up_to_date(path: Path, opened: Any, version: int) -> None:
    registry = await opened()
    lease = await registry.acquire("apply", holder="ada", ttl_ms=5000, now_ms=1000)
    await registry.commit(write(record()))
    await registry.close()
    newer = [part for since, parts in SINCE.items() if since > version for part in parts]
    tamper(path, *map(without, newer))
    tamper(path, f"DELETE FROM migrations WHERE version > {version}")  # noqa: S608  # a number
    again = await opened()
    await again.commit(write(clusters=(health(),)))
    state = await again.snapshot()
    assert (state.value.records, state.value.clusters) == ({TRIAGE: record()}, {"eu-1": health()})
    found = await again.find(read_query("labels.team = support and spec.image like triage%", now_ms=0), limit=5)
    assert found.records == (record(),)
    assert await again.leases("apply") == (lease,)


async def test_what_can_be_searched_is_made_anew_by_a_version_that_sees_more(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record()))
    await registry.close()
    tamper(path, "UPDATE projection SET version = 0", "DELETE FROM facts", "UPDATE search SET state = 'running'")
    again = await opened()
    found = await again.find(read_query("labels.team = support and state = registered", now_ms=0), limit=5)
    assert found.records == (record(),)


async def test_pages_of_rubbish_are_found_at_open(path: Path, opened: Any) -> None:
    registry = await opened()
    for number in range(50):
        await registry.commit(write(record(AgentName(namespace="n", name=f"a{number}")), audit=(fact(),)))
    await registry.close()
    data = bytearray(path.read_bytes())
    for page in range(4096 * 8, len(data) - 4096, 4096 * 3):
        data[page : page + 512] = random.Random(page).randbytes(512)
    path.write_bytes(data)
    with pytest.raises(RegistryError, match=r"damaged|malformed") as caught:
        await opened()
    assert "backup" in caught.value.hint


async def test_rubbish_met_later_is_unreadable_and_not_absent(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record()))
    tamper(path, "DROP TABLE records")
    assert isinstance(await registry.snapshot(), Unreadable)
    assert isinstance(await registry.get(TRIAGE), Unreadable)
    with pytest.raises(RegistryError):
        await registry.commit(write(record(version=2)))


@pytest.mark.parametrize("bytes_", ["7b7d", "7b226964223a22ff227d", ""])
async def test_a_record_that_is_no_record_is_unreadable(path: Path, opened: Any, bytes_: str) -> None:
    registry = await opened()
    await registry.commit(write(record(), journal=(intent("a"),), revisions=(revision(1),), audit=(fact(),)))
    for table, column in (("records", "body"), ("journal", "body"), ("revisions", "body"), ("audit", "fact")):
        tamper(path, f"UPDATE {table} SET {column} = x'{bytes_}'")  # noqa: S608  # constants above
    assert isinstance(await registry.snapshot(), Unreadable)
    assert isinstance(await registry.get(TRIAGE), Unreadable)
    with pytest.raises(RegistryError, match="journal"):
        await registry.open_journal()
    with pytest.raises(RegistryError, match="support/triage"):
        await registry.revisions(TRIAGE)
    with pytest.raises(RegistryError, match="audit"):
        [entry async for entry in registry.audit()]


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Give up root's rights from the call on until the test ends: root may write anything."""
    mine = os.geteuid()
    yield lambda: os.seteuid(65534) if mine == 0 else None
    os.seteuid(mine)


async def test_a_read_only_file_is_said_to_be(as_nobody: Callable[[], None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "registry.db"
        await (await SqliteRegistry.open(path, FakeClock())).close()
        path.chmod(0o444)
        folder.chmod(0o555)
        as_nobody()
        with pytest.raises(RegistryError, match=r"registry\.db") as caught:
            await SqliteRegistry.open(path, FakeClock())
        assert "writable" in caught.value.hint
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o700)


async def test_a_registry_that_turned_read_only_writes_nothing(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record()))
    await registry._database.run("turn", lambda c: c.execute("PRAGMA query_only = 1"))
    with pytest.raises(RegistryError, match="readonly") as caught:
        await registry.commit(write(record(version=2)))
    assert "writable" in caught.value.hint
    assert await registry.get(TRIAGE) == Found(record())


@pytest.mark.parametrize("place", ["file", "missing/parent"])
async def test_a_place_where_no_file_can_be_is_said_to_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    where = tmp_path / "file" / "registry.db" if place == "file" else Path("/proc/none/registry.db")
    with pytest.raises(RegistryError, match="cannot open"):
        await SqliteRegistry.open(where, FakeClock())


async def test_a_full_disk_refuses_and_keeps_what_was(opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record(), audit=(fact(),)))
    await registry._database.run(
        "fill",
        lambda c: c.execute(f"PRAGMA max_page_count = {c.execute('PRAGMA page_count').fetchone()[0]}").fetchone(),
    )
    big = fact("x" * 100_000)
    with pytest.raises(RegistryError, match="full") as caught:
        await registry.commit(write(record(version=2), journal=(intent("j"),), audit=(big,), op_id="big"))
    assert "space" in caught.value.hint
    assert await registry.get(TRIAGE) == Found(record())
    assert await registry.open_journal() == ()
    assert (await registry.verify_audit()).count == 1
    await registry._database.run("free", lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    await registry.commit(write(record(version=2), audit=(big,), op_id="big"))
    assert (await registry.verify_audit()).count == 2


# a commit that fails in the middle


class Failing:
    """A connection whose COMMIT fails, before or after it took effect."""

    def __init__(self, real: sqlite3.Connection, name: str, *, after: bool) -> None:
        self._real, self._name, self._after = real, name, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *rest: Any) -> Any:
        if sql != "COMMIT":
            return self._real.execute(sql, *rest)
        if self._after:
            self._real.execute(sql)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = self._name
        raise error


@pytest.mark.parametrize("after", [False, True])
async def test_a_commit_that_fails_at_the_disk_is_unknown_and_may_be_repeated(opened: Any, after: bool) -> None:
    registry = await opened()
    real = registry._database._connection
    registry._database._connection = Failing(real, "SQLITE_IOERR_FSYNC", after=after)
    one = write(record(), audit=(fact(),))
    with pytest.raises(OutcomeUnknown, match="unknown"):
        await registry.commit(one)
    registry._database._connection = real
    await registry.commit(one)
    assert await registry.get(TRIAGE) == Found(record())
    assert (await registry.verify_audit()).count == 1


async def test_a_commit_that_sqlite_took_back_is_refused(opened: Any) -> None:
    registry = await opened()
    real = registry._database._connection
    registry._database._connection = Failing(real, "SQLITE_FULL", after=False)
    with pytest.raises(RegistryError, match="cannot write"):
        await registry.commit(write(record()))
    registry._database._connection = real
    assert await registry.get(TRIAGE) == Absent()


# writes that come at once


class Counting:
    """A connection that counts its transactions, and whose COMMIT may fail as if the disk did."""

    def __init__(self, real: sqlite3.Connection, *, fails: bool = False) -> None:
        self._real, self._fails = real, fails
        self.begun = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *rest: Any) -> Any:
        self.begun += sql == "BEGIN IMMEDIATE"
        if sql == "COMMIT" and self._fails:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return self._real.execute(sql, *rest)


async def at_once(registry: SqliteRegistry, *writes: Write) -> list[int | BaseException]:
    """What becomes of writes that all come while the registry's thread is busy."""
    free = threading.Event()
    busy = asyncio.ensure_future(registry._database.run("wait", lambda _: free.wait(30)))
    tasks = [asyncio.ensure_future(registry.commit(one)) for one in writes]
    await asyncio.sleep(0)  # each has begun
    free.set()
    await busy
    return await asyncio.gather(*tasks, return_exceptions=True)


def several(count: int) -> list[Write]:
    names = [AgentName(namespace="support", name=f"agent-{number}") for number in range(count)]
    return [write(record(name), audit=(fact(agent=name),)) for name in names]


async def test_writes_that_come_at_once_share_a_transaction(opened: Any) -> None:
    registry = await opened()
    counting = registry._database._connection = Counting(registry._database._connection)
    assert await at_once(registry, *several(20)) == list(range(1, 21))
    assert counting.begun == 1
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 20)


async def test_one_that_is_refused_leaves_the_others_that_came_with_it(opened: Any) -> None:
    registry = await opened()
    stale = write(record(version=7), journal=(intent("stale"),), audit=(fact(),))
    no_json = write(record(), audit=(fact(object()),))  # type: ignore[arg-type]
    one, two, three = several(3)
    outcomes = await at_once(registry, one, stale, two, no_json, three)
    assert [type(outcome) for outcome in outcomes] == [int, RegistryConflict, int, RegistryError, int]
    assert await registry.open_journal() == ()
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 3)


async def test_two_at_once_to_one_record_are_one_after_the_other(opened: Any) -> None:
    registry = await opened()
    outcomes = await at_once(registry, write(record()), write(record(version=2)), write(record(version=2)))
    assert [type(outcome) for outcome in outcomes] == [int, int, RegistryConflict]


async def test_one_that_fills_the_disk_is_refused_alone(opened: Any) -> None:
    registry = await opened()
    small, big, other = several(3)
    big = replace(big, audit=(fact("x" * 3_000_000),))
    pages = "PRAGMA max_page_count = {}"
    await registry._database.run("limit", lambda c: c.execute(pages.format(400)).fetchone())
    outcomes = await at_once(registry, small, big, other)
    assert [type(outcome) for outcome in outcomes] == [int, RegistryError, int]
    assert (await registry.verify_audit()).count == 2


async def test_none_is_answered_when_the_disk_fails_and_all_may_be_repeated(opened: Any) -> None:
    registry = await opened()
    real = registry._database._connection
    registry._database._connection = Counting(real, fails=True)
    writes = several(3)
    stale = write(record(version=7))
    outcomes = await at_once(registry, *writes, stale)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 3 + [RegistryConflict]
    registry._database._connection = real
    for one in writes:
        await registry.commit(one)
    verdict = await registry.verify_audit()
    assert (verdict.sound, verdict.count) == (True, 3)


async def test_a_write_whose_caller_has_gone_does_not_come_later(opened: Any) -> None:
    registry = await opened()
    free = threading.Event()
    busy = asyncio.ensure_future(registry._database.run("wait", lambda _: free.wait(30)))
    gone = asyncio.ensure_future(registry.commit(write(record())))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    free.set()
    await busy
    (other,) = several(1)
    await registry.commit(other)
    assert await registry.get(TRIAGE) == Absent()


# crashes


def start_writer(path: Path, who: str, *, count: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), str(path), who, str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


async def assert_whole(registry: SqliteRegistry) -> int:
    """Each write of the writer is there whole or not at all; answers how many there are."""
    state = await registry.snapshot()
    assert isinstance(state, Found)
    verdict = await registry.verify_audit()
    assert verdict.sound, verdict.reason
    feed = [seq async for seq, _ in registry.changes(0)]
    writes = sum(held.version for held in state.value.records.values())
    intents = await registry.open_journal()
    assert verdict.count == len(feed) == len(intents) == writes == state.value.seq
    assert feed == list(range(1, writes + 1))
    return writes


KILLS = int(os.environ.get("RECONCILER_KILL_ROUNDS", "20"))


async def test_a_writer_killed_at_any_moment_leaves_whole_writes(path: Path, opened: Any) -> None:
    await (await opened()).close()
    chance = random.Random(7)
    survived = 0
    for round_ in range(KILLS):
        writer = start_writer(path, f"r{round_}")
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(chance.randint(1, 6)):
            acknowledged = int(writer.stdout.readline())
        threading.Event().wait(chance.random() * 0.004)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        registry = await opened()
        held = await assert_whole(registry)
        await registry.close()
        assert held >= survived + max([acknowledged, *map(int, rest)]), "what was answered is kept"
        survived = held
    assert survived >= KILLS


async def test_a_torn_log_loses_only_what_was_not_committed(path: Path, opened: Any) -> None:
    writer = start_writer(path, "w")
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.kill()
    writer.stdout.close()
    writer.wait()
    log = path.with_name("registry.db-wal")
    whole = log.read_bytes()
    assert len(whole) > 40_000
    copy = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 2000, len(whole) // 2, len(whole) // 3 + 17, 40, 0):
        path.write_bytes(copy)
        log.write_bytes(whole[:cut])
        path.with_name("registry.db-shm").unlink(missing_ok=True)
        registry = await opened()
        await assert_whole(registry)
        await registry.close()
    path.write_bytes(copy)
    torn = bytearray(whole)
    torn[len(torn) // 2 : len(torn) // 2 + 64] = bytes(64)
    log.write_bytes(torn)
    registry = await opened()
    await assert_whole(registry)


async def test_processes_write_side_by_side(path: Path, opened: Any) -> None:
    registry = await opened()
    writers = [start_writer(path, f"w{number}", count=40) for number in range(3)]
    for version in range(1, 21):
        await registry.commit(write(record(version=version), journal=(intent(f"j{version}"),), audit=(fact(),)))
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert (writer.returncode, out.split()[-1]) == (0, "40")
    assert await assert_whole(registry) == 140


async def test_opening_twice_in_a_process_takes_no_locks_away(path: Path, opened: Any) -> None:
    """A process loses all its locks on a file when it closes any descriptor of it. Without them the next process to
    leave thinks that it was the last, and folds up the log that others still write."""
    first = await opened()
    await first.commit(write(record()))
    await opened()
    for number in range(3):
        assert start_writer(path, f"w{number}", count=1).communicate(timeout=60)[0] == "1\n"
        assert path.with_name("registry.db-wal").exists(), "this process still has it open"
        await first.commit(write(record(version=number + 2), journal=(intent(f"j{number}"),), audit=(fact(),)))
    assert await first.integrity() == ()
    assert len([seq async for seq, _ in (await opened()).changes(0)]) == 7


async def test_a_writer_that_never_ends_is_named(opened: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = await opened()
    await registry._database.run("hurry", lambda c: c.execute("PRAGMA busy_timeout = 50"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegistryError, match="locked") as caught:
        await registry.commit(write(record()))
    assert "another process" in caught.value.hint
    assert await registry.get(TRIAGE) == Absent(), "readers wait for nobody"
    other.execute("ROLLBACK")
    other.close()
    await registry.commit(write(record()))


async def test_a_first_open_by_many_at_once_makes_one_registry(path: Path, opened: Any) -> None:
    writers = [start_writer(path, f"w{number}", count=5) for number in range(4)]
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0, out
    assert await assert_whole(await opened()) == 20


# forgery


FORGERIES: dict[str, tuple[list[str], int, str]] = {
    "changed": (
        ["UPDATE audit SET fact = CAST(replace(CAST(fact AS TEXT), 'ada', 'eve') AS BLOB) WHERE seq = 4"],
        4,
        "was changed",
    ),
    "time": (["UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 4"], 4, "was changed"),
    "unreadable": (["UPDATE audit SET fact = x'ff' WHERE seq = 4"], 4, "was changed"),
    "hidden from its agent": (["UPDATE audit SET agent = 'a/b' WHERE seq = 4"], 4, "was changed"),
    "rehashed": (["UPDATE audit SET hash = printf('%064d', 1) WHERE seq = 4"], 4, "was changed"),
    "removed": (["DELETE FROM audit WHERE seq = 4"], 4, "entry 4 is missing"),
    "first removed": (["DELETE FROM audit WHERE seq = 1"], 1, "entry 1 is missing"),
    "closed gap": (
        ["DELETE FROM audit WHERE seq = 4", "UPDATE audit SET seq = seq - 1 WHERE seq > 4"],
        4,
        "does not continue",
    ),
    "reordered": (
        [
            "UPDATE audit SET seq = -1 WHERE seq = 4",
            "UPDATE audit SET seq = 4 WHERE seq = 5",
            "UPDATE audit SET seq = 5 WHERE seq = -1",
        ],
        4,
        "does not continue",
    ),
    "inserted": (
        [
            "UPDATE audit SET seq = -seq WHERE seq > 3",
            "INSERT INTO audit SELECT 4, at_ms, agent, fact, previous, hash FROM audit WHERE seq = 3",
            "UPDATE audit SET seq = -seq + 1 WHERE seq < 0",
        ],
        4,
        "does not continue",
    ),
    "cut off": (["DELETE FROM audit WHERE seq > 7"], 8, "entries 8 to 10 are missing at the end"),
    "all gone": (["DELETE FROM audit"], 1, "entries 1 to 10 are missing at the end"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_audit_log_is_found_and_the_place_named(path: Path, opened: Any, name: str) -> None:
    statements, seq, reason = FORGERIES[name]
    registry = await opened()
    for number in range(10):
        await registry.commit(write(audit=(fact(f"a{number}"),), at_ms=number))
    assert (await registry.verify_audit()).sound
    tamper(path, *statements)
    verdict = await registry.verify_audit()
    assert (verdict.broken_seq, verdict.count) == (seq, seq - 1)
    assert reason in verdict.reason


async def test_an_entry_written_past_the_registry_is_found(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(audit=(fact(),)))
    held = (await registry.verify_audit()).head
    forged = next_entry(fact("forged"), at_ms=1, seq=2, previous=held)
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO audit VALUES (2, 1, 'support/triage', ?, ?, ?)", (encode(forged.fact), held, forged.hash)
    )
    connection.commit()
    connection.close()
    verdict = await registry.verify_audit()
    assert not verdict.sound
    assert "does not end" in verdict.reason


# keeping


async def test_old_lines_of_the_feed_go_and_each_agents_last_one_stays(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = await opened()
    other = AgentName(namespace="n", name="quiet")
    await registry.commit(write(record(other)))
    for version in range(1, 31):
        await registry.commit(write(record(version=version)))
    monkeypatch.setattr("reconciler.adapters.sqlite.registry.KEPT_FEED", 10)
    again = await opened()
    items = [item async for item in again.changes(0)]
    assert items[0] == (1, other)
    assert [seq for seq, _ in items[1:]] == list(range(21, 32))


async def test_old_outcomes_go_and_open_intents_stay(path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = await opened()
    await registry.commit(write(journal=(intent("open"), intent("done", JournalPhase.DONE)), op_id="first"))
    for number in range(20):
        await registry.commit(write(journal=(intent(f"j{number}", JournalPhase.DONE),), op_id=f"o{number}"))
    monkeypatch.setattr("reconciler.adapters.sqlite.registry.KEPT_JOURNAL", 5)
    monkeypatch.setattr("reconciler.adapters.sqlite.registry.KEPT_OPERATIONS", 5)
    again = await opened()
    assert [entry.id for entry in await again.open_journal()] == ["open"]
    count = "SELECT (SELECT count(*) FROM journal), (SELECT count(*) FROM operations)"
    assert await again._database.run("count", lambda c: c.execute(count).fetchone()) == (7, 6)


async def test_a_cancelled_caller_leaves_a_whole_write(opened: Any) -> None:
    registry = await opened()
    task = asyncio.ensure_future(registry.commit(write(record(), audit=(fact(),))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    state = await registry.snapshot()
    assert isinstance(state, Found)
    assert len(state.value.records) == (await registry.verify_audit()).count


async def test_a_gone_record_holds_no_reservation(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record()))
    await registry.commit(write(record(version=2, state=AgentState.GONE)))
    (body,) = sqlite3.connect(path).execute("SELECT body FROM records").fetchone()
    assert b'"reservations":[]' in body


async def test_a_closed_registry_says_so(opened: Any) -> None:
    registry = await opened()
    await registry.close()
    assert isinstance(await registry.snapshot(), Unreadable)
    with pytest.raises(RegistryError, match="closed"):
        await registry.commit(write(record()))
    await registry.close()


async def test_manifests_that_cannot_be_read_are_said_to_be(path: Path, opened: Any) -> None:
    registry = await opened()
    await registry.commit(write(record()))
    tamper(path, "UPDATE records SET manifests = x'00'")
    found = await registry.get(TRIAGE)
    assert isinstance(found, Found)
    assert found.value.good is not None
    with pytest.raises(RegistryError, match="roll back to are damaged"):
        len(found.value.good.manifests)


async def test_a_large_snapshot_leaves_the_collector_on(opened: Any) -> None:
    registry = await opened()
    names = [AgentName(namespace="n", name=f"a{number:04}") for number in range(1500)]
    await registry.commit(write(*(record(name) for name in names)))
    state = await registry.snapshot()
    assert isinstance(state, Found)
    assert list(state.value.records) == names
    assert gc.isenabled()
