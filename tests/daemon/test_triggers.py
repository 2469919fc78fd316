"""What wakes the loop: commits, objects, wishes, files, time; and what happens when a trigger fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.daemon.telling import Teller
from reconciler.daemon.triggers import RegistryFeed, SourceFeed, Timers, follow_cluster, keep_up
from reconciler.daemon.wakes import Pace, Wakes
from reconciler.model.errors import SourceError
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Manifest
from reconciler.model.source import Revision
from reconciler.ports import Clock, Source
from tests.contracts.values import record, write
from tests.daemon.waiting import PATIENTLY_S, until
from tests.doubles.clock import FakeClock
from tests.doubles.never_ready import NeverReadyCluster
from tests.doubles.source import MemorySource
from tests.doubles.world import open_cluster, open_registry


class Broken:
    """Work that fails as often as it is told, then goes on for ever."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.left, self.runs = failures, 0
        self.error = error or SourceError("the repository cannot be reached")

    async def __call__(self) -> None:
        self.runs += 1
        if self.left:
            self.left -= 1
            raise self.error
        await asyncio.Event().wait()


async def test_a_trigger_that_fails_is_tried_again_after_a_growing_while_and_told() -> None:
    lines: list[str] = []
    clock, work = FakeClock(), Broken(4)
    tell = Teller(clock=clock, write=lines.append)
    task = asyncio.create_task(keep_up("git", work, clock, Pace(jitter=lambda: 1.0), tell))
    await until(lambda: work.runs == 5)
    assert clock.slept == [5, 10, 20, 40]
    assert all("the repository cannot be reached" in line for line in lines)
    task.cancel()


async def test_a_trigger_that_fails_by_a_fault_of_ours_is_told_and_tried_again() -> None:
    lines: list[str] = []
    clock, work = FakeClock(), Broken(1, ZeroDivisionError("by zero"))
    tell = Teller(clock=clock, write=lines.append)
    task = asyncio.create_task(keep_up("git", work, clock, Pace(jitter=lambda: 1.0), tell))
    await until(lambda: work.runs == 2)
    assert "ZeroDivisionError: by zero" in lines[0]
    task.cancel()


async def test_a_trigger_whose_work_was_cancelled_by_others_goes_on_and_one_that_is_to_end_ends() -> None:
    """What it waits for may be cancelled, like a thread of a pool that is closed: nobody would hear that it ended."""
    lines: list[str] = []
    clock, runs = FakeClock(), asyncio.Queue[int]()
    tell = Teller(clock=clock, write=lines.append)

    async def work() -> None:
        runs.put_nowait(1)
        if runs.qsize() == 1:
            gone = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_up("sweep", work, clock, Pace(jitter=lambda: 1.0), tell))
    await until(lambda: runs.qsize() == 2)
    assert "was cancelled" in lines[0]
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


def feed(source: Source, wakes: Wakes, clock: Clock, pause_s: float, lines: list[str] | None = None) -> SourceFeed:
    tell = Teller(clock=clock, write=(lines if lines is not None else []).append)
    return SourceFeed(source=source, ref="", wakes=wakes, clock=clock, pause=lambda: pause_s, tell=tell)


class Told(MemorySource):
    """A repository in which a test says that something was written; False raises."""

    def __init__(self) -> None:
        super().__init__()
        self.told: asyncio.Queue[bool] = asyncio.Queue()
        self.working_tree = False

    async def revision(self, ref: str) -> Revision:
        return replace(await super().revision(ref), working_tree=self.working_tree)

    async def changed_here(self) -> AsyncGenerator[None, None]:
        while await self.told.get():
            yield
        raise SourceError("the machine's watches are used up")


async def test_what_is_written_here_is_seen_at_once_and_where_that_cannot_be_told_it_is_said_once() -> None:
    source, wakes, lines = Told(), Wakes(), list[str]()
    source.commit({"fleet.yaml": "a"})
    here = feed(source, wakes, SystemClock(), 3600.0, lines)
    tasks = [asyncio.create_task(here.follow()), asyncio.create_task(here.watch())]
    await asyncio.wait_for(wakes.wait(), PATIENTLY_S)
    second = source.commit({"fleet.yaml": "b"})
    source.told.put_nowait(True)
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == (f"commit {second[:7]}",)
    source.told.put_nowait(True)  # whatever it was, the commit is the same
    source.told.put_nowait(False)
    await until(lambda: lines)
    assert "only-polls" in lines[0]
    assert "used up" in lines[0]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wakes.wait(), 0.3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(lines) == 1


async def test_files_that_are_written_wake_where_files_are_what_counts() -> None:
    source, wakes = Told(), Wakes()
    source.commit({"fleet.yaml": "a"})
    source.working_tree = True
    here = feed(source, wakes, SystemClock(), 3600.0)
    tasks = [asyncio.create_task(here.follow()), asyncio.create_task(here.watch())]
    await asyncio.wait_for(wakes.wait(), PATIENTLY_S)
    source.told.put_nowait(True)
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == ("files were written",)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_commit_wakes_once() -> None:
    source, wakes, clock = MemorySource(), Wakes(), SystemClock()
    first = source.commit({"fleet.yaml": "a"})
    task = asyncio.create_task(feed(source, wakes, clock, 0.01).follow())
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == (f"commit {first[:7]}",)
    second = source.commit({"fleet.yaml": "b"})
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == (f"commit {second[:7]}",)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wakes.wait(), 0.1)
    task.cancel()


async def test_what_we_render_and_somebody_changed_wakes(tmp_path: Path) -> None:
    cluster, wakes = open_cluster(NeverReadyCluster, tmp_path), Wakes()
    task = asyncio.create_task(follow_cluster(cluster, wakes, lambda _cluster, ref: ref.name == "x"))
    woken = asyncio.create_task(wakes.wait())
    ref = ObjectRef(group="", kind="ConfigMap", namespace="support", name="x")
    for number in itertools.count():
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "x", "namespace": "support"},
            "data": {"count": str(number)},
        }
        manifest = Manifest(ref=ref, body=body, hash="", agent=AgentName.parse("support/x"))
        await cluster.apply(manifest, AnyState())
        await asyncio.sleep(0.02)  # it may not listen yet
        if woken.done():
            break
    assert woken.result()[0] == "local: ConfigMap support/x"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await cluster.close()


async def test_a_wish_by_hand_wakes_and_our_own_writes_do_not(tmp_path: Path) -> None:
    clock, wakes = FakeClock(), Wakes()
    registry = await open_registry(tmp_path, clock)
    ours, theirs = AgentName.parse("support/ours"), AgentName.parse("support/theirs")
    feed = RegistryFeed(registry=registry, wakes=wakes, clock=clock, busy=lambda name: name == ours, pause_s=0.01)
    task = asyncio.create_task(feed.follow())
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == ("the registry is followed",)
    await until(lambda: clock.slept)
    done = await registry.commit(write(record(ours, id_="o"), op_id=registry.new_id()))
    feed.wrote(done, 1)
    await registry.commit(write(record(theirs, id_="t"), op_id=registry.new_id()))
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == (f"the record of {theirs}",)
    await registry.commit(write(record(ours, id_="o", version=2), op_id=registry.new_id()))
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == (f"the record of {ours}",), (
        "a wish while it is worked on"
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await registry.close()


class Turns(FakeClock):
    """A clock that sleeps until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps, self.go_on = asyncio.Event(), asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.sleeps.set()
        await self.go_on.wait()
        self.go_on.clear()

    async def turn(self) -> None:
        """Let one turn pass, and answer when the next sleep has begun."""
        self.sleeps.clear()
        self.go_on.set()
        await asyncio.wait_for(self.sleeps.wait(), PATIENTLY_S)


@pytest.mark.parametrize("known", [True, False])
async def test_a_write_of_ours_that_is_read_before_we_know_of_it_wakes_nobody(tmp_path: Path, known: bool) -> None:
    clock, wakes, name = Turns(), Wakes(), AgentName.parse("support/ours")
    registry = await open_registry(tmp_path, clock)
    feed = RegistryFeed(registry=registry, wakes=wakes, clock=clock, busy=lambda _name: True, pause_s=1.0)
    task = asyncio.create_task(feed.follow())
    await wakes.wait()
    await asyncio.wait_for(clock.sleeps.wait(), PATIENTLY_S)
    done = await registry.commit(write(record(name), op_id=registry.new_id()))
    await clock.turn()  # it is read, and nobody has said whose it is
    if known:
        feed.wrote(done, 1)
    await clock.turn()
    waiting = asyncio.create_task(wakes.wait())
    await asyncio.sleep(0)
    assert waiting.done() is not known
    for one in (task, waiting):
        one.cancel()
    await asyncio.gather(task, waiting, return_exceptions=True)
    await registry.close()


async def test_what_is_written_while_nobody_listens_wakes_when_somebody_does_again(tmp_path: Path) -> None:
    clock, wakes, name = FakeClock(), Wakes(), AgentName.parse("support/theirs")
    registry = await open_registry(tmp_path, clock)
    feed = RegistryFeed(registry=registry, wakes=wakes, clock=clock, busy=lambda _name: False, pause_s=0.01)
    first = asyncio.create_task(feed.follow())
    await until(lambda: clock.slept)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await wakes.wait()
    await registry.commit(write(record(name, id_=registry.new_id()), op_id=registry.new_id()))
    again = asyncio.create_task(feed.follow())
    told: list[str] = []
    while f"the record of {name}" not in told:
        told += await asyncio.wait_for(wakes.wait(), PATIENTLY_S)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    await registry.close()


async def test_of_two_timers_for_one_reason_the_earlier_counts() -> None:
    wakes = Wakes()
    timers = Timers(wakes)
    timers.after(60, "an agent may be tried again")
    timers.after(0.01, "an agent may be tried again")
    timers.after(60, "an agent may be tried again")
    timers.after(60, "other")
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == ("an agent may be tried again",)
    timers.after(0.01, "an agent may be tried again")
    assert await asyncio.wait_for(wakes.wait(), PATIENTLY_S) == ("an agent may be tried again",)
    timers.close()
