"""The program itself, killed with SIGKILL in the middle of an apply on a real API server: the next one goes on."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.sqlite import SqliteRegistry
from tests.doubles.fault_proxy import Exchange
from tests.engine.fleets import FleetRepo, applied
from tests.faults.plane_fleets import Life
from tests.faults.plane_world import Files, Harness, PlaneWorld, fleet_yaml

SEEDS = range(24) if os.environ.get("RECONCILER_ALL_FAULTS") else range(6)
AT_ONCE = 6
"""Each waits for the lock of the one that was killed, and all of them at the same time."""
AGENTS = 3
WRITES = {"create": 15, "update": 12, "delete": 5}
"""How many there are at least."""


class ProgramWorld(PlaneWorld):
    """A world whose fleet is a Git repository, and whose applies are the program's."""

    def begin(self, root: Path) -> None:
        self.repo = FleetRepo(root, fleet_yaml(self.namespace, str(self.kubeconfig)))

    def commit(self, files: Files) -> None:
        self.repo.commit({f"agents/{name}.yaml": text for name, text in files.items()})

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "reconciler.cli", "-C", str(self.repo.root), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *arguments: str) -> tuple[int | None, str]:
        """Run the program to its end; its exit code and what it said."""
        process = await self.start(*arguments)
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, output.decode()


class Killer:
    """Kills a program when a numbered write comes: before the server has it, or when it is done and not answered."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.process: asyncio.subprocess.Process | None = None
        self.killed = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        self.left -= exchange.writes
        if self.left == 0 and not self.killed.is_set():
            assert self.process is not None
            self.killed.set()
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def program_world(shared: Harness, name: str, root: Path) -> AsyncIterator[ProgramWorld]:
    plane = shared.plane
    await asyncio.to_thread(plane.create_namespace, name)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(shared.proxy(tls=True))
        registry = await SqliteRegistry.open(root / ".reconciler" / "registry.db", SystemClock())
        stack.push_async_callback(registry.close)
        world = ProgramWorld(shared, name, proxy, registry)
        world.begin(root)
        yield world
    await asyncio.to_thread(plane.kubectl, "delete", "namespace", name, "--wait=false")


async def killed_once(world: ProgramWorld, seed: int) -> None:
    chance = random.Random(seed)
    life = Life(world, AGENTS)
    phases = [*WRITES]
    phase = phases[seed % len(phases)]
    for before in phases[: phases.index(phase)]:
        life.commit(before)
        async with await world.repo.session() as session:
            await applied(session)
        await life.judge()
    life.commit(phase)
    killer = Killer(chance.randint(1, WRITES[phase]))
    where = f"seed {seed}: {phase}, write {killer.left}"
    if chance.random() < 0.5:
        world.proxy.before = killer
    else:
        world.proxy.after = killer
    killer.process = await world.start("apply", "--auto-approve")
    await killer.process.communicate()
    assert killer.killed.is_set(), where
    world.proxy.be_well()
    code, said = await world.run("apply", "--auto-approve", "--lock-timeout", "2m")
    assert code == 0, f"{where}: {said}"
    code, said = await world.run("plan", "--detailed-exitcode")
    assert code == 0, f"{where}: {said}"
    assert "No changes." in said
    await life.judge()
    await life.settle()


@pytest.mark.parametrize("batch", range(0, len(SEEDS), AT_ONCE))
async def test_a_program_that_is_killed_in_the_middle_goes_on_where_it_was(
    shared: Harness, namespace_name: str, tmp_path: Path, batch: int, record_property
):
    async with AsyncExitStack() as stack:
        worlds = {
            seed: await stack.enter_async_context(
                program_world(shared, f"{namespace_name}-{seed}", tmp_path / f"fleet-{seed}")
            )
            for seed in SEEDS[batch : batch + AT_ONCE]
        }
        async with asyncio.TaskGroup() as group:
            for seed, world in worlds.items():
                group.create_task(killed_once(world, seed))
        record_property("plane_kills", len(worlds))
