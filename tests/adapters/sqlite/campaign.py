"""A process that kills writers: PATH ROUNDS SEED. It keeps WRITERS of them writing to one registry, kills one each
round with SIGKILL at a random moment, starts another, and looks again and again whether the registry is true.

Prints one line of JSON. Writers are forked from here, where everything is imported: so a round costs milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.audit import GENESIS, link_fault
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from tests.contracts.values import fact, intent, record, write

WRITERS = 16
SHARED = AgentName(namespace="writers", name="shared")
LOOK_EVERY = 25
MOST_PAUSE_S = 0.02


async def add_one(registry: SqliteRegistry, name: AgentName, op_id: str) -> None:
    """Count one up in an agent's record."""
    while True:
        found = await registry.get(name)
        if isinstance(found, Found):
            held = found.value
            made = replace(
                held, version=held.version + 1, labels={"count": str(int(held.labels["count"]) + 1)}, message="x" * 900
            )
        else:
            made = replace(record(name), labels={"count": "1"})
        try:
            entry = replace(intent(op_id), agent=name)
            await registry.commit(write(made, op_id=op_id, journal=(entry,), audit=(fact(op_id, name),)))
        except RegistryConflict:
            continue
        except RegistryError as error:
            if not starved(error):
                raise
        else:
            return


def starved(error: RegistryError) -> bool:
    """Whether others held the file for so long that it was given up, with nothing written. They are many here."""
    return "database is locked" in error.message


async def open_patiently(path: Path) -> SqliteRegistry:
    while True:
        try:
            return await SqliteRegistry.open(path, SystemClock())
        except RegistryError as error:
            if not starved(error):
                raise


async def write_on(path: Path, who: int, acknowledge: int) -> None:
    """Two tasks with a registry each: one on the agent that all write, one on an agent of a few writers."""

    async def task(name: AgentName, kind: str) -> None:
        registry = await open_patiently(path)
        turn = 0
        while True:
            turn += 1
            await add_one(registry, name, f"{who}-{kind}-{turn}")
            os.write(acknowledge, f"{who}-{kind}-{turn}\n".encode())

    own = AgentName(namespace="writers", name=f"w{who % WRITERS}")
    await asyncio.gather(task(SHARED, "shared"), task(own, "own"))


@dataclass(slots=True)
class Writer:
    pid: int
    pipe: int
    heard: bytes = b""


@dataclass(slots=True)
class Truth:
    """What was seen of the registry so far, so that a look costs what is new."""

    path: Path
    promised: set[str] = field(default_factory=set)
    writes: int = 0
    head: str = GENESIS
    looks: int = 0
    done: Counter[str] = field(default_factory=Counter)

    def look(self) -> None:
        """In one read: all that was answered is there, feed and chain go on without gap or double, counts agree."""
        self.looks += 1
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as file:
            file.execute("BEGIN")
            seq, audit_seq, _ = file.execute("SELECT seq, audit_seq, audit_hash FROM head").fetchone()
            feed = file.execute("SELECT seq FROM feed WHERE seq > ? ORDER BY seq", (self.writes,)).fetchall()
            assert [row[0] for row in feed] == list(range(self.writes + 1, seq + 1)), "a gap or a double in the feed"
            assert audit_seq == seq
            self._chain(file)
            operations = [row[0] for row in file.execute("SELECT op_id FROM operations")]
            assert len(operations) == len(set(operations)) == seq
            assert self.promised <= set(operations), "what was answered is lost"
            assert set(self.done) == set(operations), "the audit log and the operations speak of other writes"
            told = Counter(row[0] for row in file.execute("SELECT name FROM feed"))
            for name, version, count in file.execute(
                "SELECT name, version, json_extract(CAST(body AS TEXT), '$.labels.count') FROM records"
            ):
                assert version == int(count) == told[name], f"an update of {name} is lost"
            assert file.execute("SELECT count(*) FROM journal").fetchone()[0] == seq
            self.writes = seq

    def _chain(self, file: sqlite3.Connection) -> None:
        from reconciler.adapters.stored.codec import decode_audit

        rows = file.execute(
            "SELECT seq, at_ms, fact, previous, hash FROM audit WHERE seq > ? ORDER BY seq", (self.writes,)
        )
        for number, row in enumerate(rows, self.writes + 1):
            entry = decode_audit(row)
            assert not (reason := link_fault(entry, seq=number, previous=self.head)), reason
            self.head = entry.hash
            self.done[entry.fact.action] += 1
            assert self.done[entry.fact.action] == 1, "a write was done twice"


def start(path: Path, who: int) -> Writer:
    """Fork a writer."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            asyncio.run(write_on(path, who, theirs))
        except BaseException:  # noqa: BLE001 - whatever it is: who reads the test has to see it
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(theirs)
    os.set_blocking(ours, False)
    return Writer(pid, ours)


def listen(writer: Writer, truth: Truth) -> None:
    """Take what a writer was answered. A line that it was killed in is none."""
    while True:
        try:
            data = os.read(writer.pipe, 65536)
        except BlockingIOError:
            return
        if not data:
            return
        *lines, writer.heard = (writer.heard + data).split(b"\n")
        truth.promised |= {line.decode() for line in lines}


def kill(writer: Writer, truth: Truth) -> None:
    """Kill one that must be alive, and take what it was answered before."""
    os.kill(writer.pid, signal.SIGKILL)
    _, status = os.waitpid(writer.pid, 0)
    writer.pid = 0
    listen(writer, truth)
    os.close(writer.pipe)
    assert os.WIFSIGNALED(status), f"a writer ended by itself, with {status}"


@contextmanager
def writing(path: Path, truth: Truth) -> Iterator[list[Writer]]:
    writers = [start(path, who) for who in range(WRITERS)]
    try:
        yield writers
        for writer in writers:
            kill(writer, truth)
    finally:
        for writer in writers:
            if writer.pid:
                os.kill(writer.pid, signal.SIGKILL)


async def finish(path: Path) -> None:
    """The next process finds a whole registry."""
    registry = await SqliteRegistry.open(path, SystemClock())
    assert (await registry.verify_audit()).sound
    assert await registry.integrity() == ()
    await registry.close()


async def make(path: Path) -> None:
    await (await SqliteRegistry.open(path, SystemClock())).close()


def main(path: Path, rounds: int, seed: int) -> None:
    chance, truth, started = random.Random(seed), Truth(path), time.monotonic()
    asyncio.run(make(path))
    with writing(path, truth) as writers:
        for number in range(1, rounds + 1):
            time.sleep(chance.random() * MOST_PAUSE_S)
            place = chance.randrange(WRITERS)
            kill(writers[place], truth)
            writers[place] = start(path, WRITERS * number + place)
            for writer in writers:
                listen(writer, truth)
            if number % LOOK_EVERY == 0:
                truth.look()
    truth.look()
    asyncio.run(finish(path))
    told = {"rounds": rounds + WRITERS, "writes": truth.writes, "answered": len(truth.promised), "looks": truth.looks}
    sys.stdout.write(json.dumps(told | {"seconds": round(time.monotonic() - started, 1)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
