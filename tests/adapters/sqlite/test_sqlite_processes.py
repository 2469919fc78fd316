"""Processes that are killed at any moment, and leaders that were stopped and come back: the registry stays true."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio

from reconciler.adapters.sqlite import SqliteRegistry
from reconciler.model.errors import RegistryError
from reconciler.model.registry import Lease
from tests.contracts.values import fact, write
from tests.doubles.clock import FakeClock

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
KILL_ROUNDS = int(os.environ.get("RECONCILER_KILL_ROUNDS", "50"))
"""How many writers are killed. The campaign of 1,000 takes minutes."""
LATER_MS = 10_000_000_000_000
"""A time at which every lease has expired."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "registry.db"


@pytest_asyncio.fixture
async def registry(path: Path):
    opened = await SqliteRegistry.open(path, FakeClock())
    yield opened
    await opened.close()


def spawn(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / program), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_sixteen_writers_of_whom_one_after_another_is_killed_leave_a_true_registry(
    path: Path, record_property: Callable[[str, object], None]
) -> None:
    """See campaign.py for what is held: nothing that was answered is lost, nothing is there twice or by half."""
    campaign = spawn("campaign.py", str(path), str(KILL_ROUNDS), "7")
    out, _ = campaign.communicate()
    assert campaign.returncode == 0, out
    told = json.loads(out)
    assert told["rounds"] >= KILL_ROUNDS
    assert told["writes"] >= told["answered"] > 0
    record_property("kills", json.dumps(told))


def hear(leader: subprocess.Popen[str]) -> str:
    assert leader.stdout is not None
    return leader.stdout.readline().strip()


def order(leader: subprocess.Popen[str]) -> None:
    assert leader.stdin is not None
    leader.stdin.write("\n")
    leader.stdin.flush()


def end(leader: subprocess.Popen[str]) -> None:
    leader.kill()
    leader.communicate()


async def actors(registry: SqliteRegistry) -> list[str]:
    return [entry.fact.action async for entry in registry.audit()]


async def test_a_leader_that_was_stopped_while_another_took_over_writes_nothing(
    registry: SqliteRegistry, path: Path
) -> None:
    leader = spawn("leader.py", str(path), "old", "60000")
    try:
        assert hear(leader) == "leads in epoch 1"
        order(leader)
        assert hear(leader) == "written"
        leader.send_signal(signal.SIGSTOP)
        lease = await registry.acquire("leader", holder="new", ttl_ms=1000, now_ms=LATER_MS)
        await registry.commit(write(audit=(fact("new", None),), lease="leader", epoch=lease.epoch))
        order(leader)
        leader.send_signal(signal.SIGCONT)
        said = hear(leader)
        assert said.startswith(
            "fenced: lease leader has moved on: this write has epoch 1, the lease has 2, held by new"
        )
        assert await actors(registry) == ["old", "new"]
    finally:
        end(leader)


async def take_over(registry: SqliteRegistry, leader: subprocess.Popen[str], chance: random.Random) -> Lease:
    """Stop a leader that writes without end, at any moment, and take its lease.

    One that is stopped inside of a transaction holds the file: then nobody can write, and it is let on.
    """
    while True:
        threading.Event().wait(chance.random() * 0.01)
        leader.send_signal(signal.SIGSTOP)
        try:
            return await registry.acquire("leader", holder="new", ttl_ms=1000, now_ms=LATER_MS)
        except RegistryError as error:
            if "locked" not in error.message:
                raise
            leader.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("seed", range(3))
async def test_a_leader_stopped_at_any_moment_writes_nothing_after_its_successor_began(
    registry: SqliteRegistry, path: Path, seed: int
) -> None:
    leader = spawn("leader.py", str(path), "old", "-60000")
    try:
        assert hear(leader) == "leads in epoch 1"
        await registry._database.run("hurry", lambda c: c.execute("PRAGMA busy_timeout = 100").fetchall())
        lease = await take_over(registry, leader, random.Random(seed))
        before = await actors(registry)
        for _ in range(3):
            await registry.commit(write(audit=(fact("new", None),), lease="leader", epoch=lease.epoch))
        leader.send_signal(signal.SIGCONT)
        assert leader.stdout is not None
        assert leader.stdout.read().splitlines()[-1].startswith("fenced: ")
        assert await actors(registry) == [*before, "new", "new", "new"]
        assert (await registry.verify_audit()).sound
    finally:
        end(leader)
