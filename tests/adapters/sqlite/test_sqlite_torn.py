"""A write-ahead log that was torn or spoilt anywhere: all commits before the place are there, nothing of later ones.
And a file that was spoilt anywhere: it is said, with what to do, and never a traceback.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Unreadable
from tests.contracts.values import TRIAGE, fact, intent, record, revision, write
from tests.doubles.clock import FakeClock

COMMITS = 8
HEADER, FRAME = 32, 24 + 4096
"""Bytes of the log's header, and of a frame with its page."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A registry as a crash left it: the file, the log, and how long the log was after each of COMMITS commits."""

    path: Path
    file: bytes
    log: bytes
    ends: tuple[int, ...]

    def come_back(self, log: bytes) -> int:
        """Open the registry with this log; answers how many commits are there, each of them whole."""
        self.path.write_bytes(self.file)
        self.path.with_name("registry.db-wal").write_bytes(log)
        self.path.with_name("registry.db-shm").unlink(missing_ok=True)
        return asyncio.run(_whole_commits(self.path))

    def before(self, place: int) -> int:
        """How many commits end at or before a place in the log."""
        return sum(end <= place for end in self.ends)


async def _whole_commits(path: Path) -> int:
    registry = await SqliteRegistry.open(path, FakeClock())
    try:
        assert await registry.integrity() == ()
        verdict = await registry.verify_audit()
        assert verdict.sound, verdict.reason
        commits = verdict.count
        found = await registry.get(TRIAGE)
        assert found == (Found(_record(commits)) if commits else Absent())
        assert [seq async for seq, _ in registry.changes(0)] == list(range(1, commits + 1))
        assert [entry.id for entry in await registry.open_journal()] == [f"j{n}" for n in range(1, commits + 1)]
        assert [one.number for one in await registry.revisions(TRIAGE)] == list(range(commits, 0, -1))
        await registry.commit(write(_record(commits + 1), audit=(fact("after"),)))
        return commits
    finally:
        await registry.close()


def _record(version: int):
    return replace(record(version=version), message=f"{version}" * 700)


async def _fill(path: Path, ends: list[int]) -> None:
    registry = await SqliteRegistry.open(path, FakeClock())
    await registry._database.run("keep", lambda c: c.execute("PRAGMA wal_autocheckpoint = 0").fetchall())
    await registry._database.run("fold", lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    log = path.with_name("registry.db-wal")
    for number in range(1, COMMITS + 1):
        journal, history, facts = (intent(f"j{number}"),), (revision(number),), (fact(f"a{number}"),)
        await registry.commit(write(_record(number), journal=journal, revisions=history, audit=facts))
        ends.append(log.stat().st_size)
    copies = path.read_bytes(), log.read_bytes()
    await registry.close()
    path.write_bytes(copies[0])
    log.write_bytes(copies[1])


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    path = tmp_path_factory.mktemp("torn") / "registry.db"
    ends: list[int] = []
    asyncio.run(_fill(path, ends))
    return Crashed(path, path.read_bytes(), path.with_name("registry.db-wal").read_bytes(), tuple(ends))


def test_a_whole_log_has_all_commits(crashed: Crashed) -> None:
    assert len(crashed.log) == crashed.ends[-1]
    assert crashed.come_back(crashed.log) == COMMITS


@pytest.mark.parametrize("commit", range(COMMITS))
@pytest.mark.parametrize("off", [-FRAME, -1, 0, 1, 23, 24])
def test_a_log_torn_about_the_end_of_a_commit(crashed: Crashed, commit: int, off: int) -> None:
    cut = min(crashed.ends[commit] + off, len(crashed.log))
    assert crashed.come_back(crashed.log[:cut]) == crashed.before(cut)


@settings(max_examples=40)
@given(data=st.data())
def test_a_log_torn_anywhere(crashed: Crashed, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(crashed.log)))
    rest = data.draw(st.sampled_from([b"", bytes(len(crashed.log) - cut), os.urandom(5000)]))
    assert crashed.come_back(crashed.log[:cut] + rest) == crashed.before(cut) or rest == crashed.log[cut:]


@settings(max_examples=40)
@given(data=st.data())
def test_a_log_spoilt_anywhere(crashed: Crashed, data: st.DataObject) -> None:
    """What is spoilt takes its frame along, and all that comes later: each frame vouches for those before it."""
    place = data.draw(st.integers(0, len(crashed.log) - 1) | st.sampled_from([0, 3, 4, 8, 16, 31, 32, 36, 40, 48, 55]))
    flip = data.draw(st.integers(1, 255))
    spoilt = bytearray(crashed.log)
    spoilt[place] ^= flip
    start = HEADER + (place - HEADER) // FRAME * FRAME if place >= HEADER else 0
    assert crashed.come_back(bytes(spoilt)) == crashed.before(start)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 4096, 8192])
def test_a_file_cut_short_is_refused_or_begun_anew(crashed: Crashed, length: int) -> None:
    """To SQLite a file without even a header is a new one; else it finds that pages are missing."""
    crashed.path.write_bytes(crashed.file[:length])
    for name in ("registry.db-wal", "registry.db-shm"):
        crashed.path.with_name(name).unlink(missing_ok=True)
    if length < 2:
        assert asyncio.run(_whole_commits(crashed.path)) == 0
        return
    with pytest.raises(RegistryError) as caught:
        asyncio.run(_whole_commits(crashed.path))
    assert "backup" in caught.value.hint


# files that were spoilt


async def _use(path: Path) -> set[str]:
    """Do everything that a registry can be asked for; answers what was refused. Anything but a refusal is raised."""
    try:
        registry = await SqliteRegistry.open(path, FakeClock())
    except RegistryError as error:
        return {"open"} if "registry.db" in error.message and error.hint else set()
    refused = set()
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "integrity": registry.integrity,
        "journal": registry.open_journal,
        "revisions": lambda: registry.revisions(TRIAGE),
        "verify": registry.verify_audit,
        "commit": lambda: registry.commit(
            write(replace(record(), name=AgentName(namespace=TRIAGE.namespace, name="new"), id="new"))
        ),
    }
    for name, ask in asked.items():
        try:
            answer = await ask()
        except RegistryError:
            refused.add(name)
        else:
            if name == "integrity" and answer:
                refused.add(name)
    for observation in (await registry.snapshot(), await registry.get(TRIAGE)):
        if isinstance(observation, Unreadable):
            refused.add("read")
    await registry.close()
    return refused


@pytest.mark.parametrize("seed", range(30))
def test_pages_of_rubbish_are_refused_wherever_they_lie(tmp_path: Path, seed: int) -> None:
    """A page of noise, of zeros, or one in the place of another: opening, reading or checking says so."""
    chance = random.Random(seed)
    path = tmp_path / "registry.db"
    asyncio.run(_fill(path, []))
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    file.close()
    data = bytearray(path.read_bytes())
    page = chance.randrange(1, len(data) // 4096)
    other = chance.randrange(1, len(data) // 4096)
    what = chance.choice([chance.randbytes(4096), bytes(4096), bytes(data[other * 4096 : (other + 1) * 4096])])
    unchanged = data[page * 4096 : (page + 1) * 4096] == what
    data[page * 4096 : (page + 1) * 4096] = what
    path.write_bytes(data)
    for name in ("registry.db-wal", "registry.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    assert asyncio.run(_use(path)) or unchanged


async def test_an_index_that_leads_into_another_tables_pages_is_refused_at_opening(tmp_path: Path) -> None:
    """Each table alone is whole, and reading by that index would miss records without a word: only all pages tell."""
    path = tmp_path / "registry.db"
    registry = await SqliteRegistry.open(path, FakeClock())
    many = (
        replace(record(), name=AgentName(namespace=TRIAGE.namespace, name=f"a{n:03}"), id=f"id-{n}") for n in range(900)
    )
    await registry.commit(write(*many, audit=tuple(fact(f"f{n}") for n in range(600))))
    await registry.close()
    with closing(sqlite3.connect(path)) as file:
        roots = dict(file.execute("SELECT name, (rootpage - 1) * 4096 FROM sqlite_schema WHERE type = 'index'"))
    data = bytearray(path.read_bytes())
    into, other = roots["records_by_seq"], roots["audit_by_agent"]
    assert data[into] == data[other] == 2, "pages of an index with pages below them"
    data[into : into + 4096] = data[other : other + 4096]
    path.write_bytes(data)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA quick_check('records')").fetchall() == [("ok",)]
    with pytest.raises(RegistryError, match=r"is damaged: .*2nd reference to page"):
        await SqliteRegistry.open(path, FakeClock())


async def test_a_file_that_is_no_file_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.db"))
        for name in ("folder.db", "loop.db", "socket.db"):
            with pytest.raises(RegistryError, match="cannot open it") as caught:
                await SqliteRegistry.open(tmp_path / name, FakeClock())
            assert caught.value.hint
