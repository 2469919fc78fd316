"""Pauses over hours and days of simulated time, to the second: how they grow, their cap, and when they begin anew."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.errors import NotAllowed
from reconciler.model.identity import AgentName
from reconciler.model.objects import Manifest
from reconciler.model.recovery import Ended, RecoveryState
from reconciler.model.registry import Record
from tests.doubles.simulated_cluster import SimulatedCluster
from tests.doubles.simulated_links import Line
from tests.doubles.simulated_time import SimulatedLoop
from tests.simulation.fleet import Wanted
from tests.simulation.world import World, chances, made

NAME = AgentName.parse("support/a1")
PATH = "agents/support/a1.yaml"
SWEEP_S = 30.0
HOUR_S, DAY_S = 3_600.0, 86_400.0
LADDER = "ladder: [restart, rollback, quarantine]"
Story = Callable[[World], Awaitable[None]]


def play(folder: Path, story: Story) -> None:
    """A story in a world of its own in which all pauses are as long as they may be."""
    with chances(1) as chance:
        loop = SimulatedLoop()
        world = loop.run_until_complete(made(folder, chance, [], lambda: 1.0))
        try:
            loop.run_until_complete(_told(world, story))
        finally:
            loop.run_until_complete(world.close())
            loop.close()
    assert loop.failures == []


async def _told(world: World, story: Story) -> None:
    world.fleet.agents[PATH] = Wanted(name=NAME)
    world.commit()
    world.start()
    await until(world, lambda: any("change-ended" in line for line in world.around.lines))
    await story(world)


async def until(world: World, there: Callable[[], bool], within_s: float = 3 * DAY_S) -> None:
    end = world.now + within_s
    while not there():
        assert world.now < end, world.around.lines[-30:]
        await asyncio.sleep(1.0)


def times(world: World, *words: str) -> list[float]:
    """When daemons said something, in seconds since 1970."""
    lines = [line.partition("] ")[2] for line in world.around.lines if all(word in line for word in words)]
    return [datetime.fromisoformat(line.split()[0]).timestamp() for line in lines]


async def record(world: World) -> Record:
    return (await world.snapshot()).records[NAME]


async def recovery(world: World) -> RecoveryState:
    state = (await record(world)).recovery
    assert state is not None
    return state


def test_what_is_refused_is_tried_again_after_pauses_that_double_to_five_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [True]
    apply = SimulatedCluster.apply

    async def refuse(cluster: SimulatedCluster, manifest: Manifest, *rest: Any, **options: Any) -> Any:
        if refused[0] and manifest.ref.kind == "Deployment":
            raise NotAllowed("deployments may not be patched", ref=manifest.ref)
        return await apply(cluster, manifest, *rest, **options)

    async def story(world: World) -> None:
        monkeypatch.setattr(SimulatedCluster, "apply", refuse)
        await asyncio.sleep(60)
        world.around.lines.clear()
        world.fleet.change(PATH, number=2)
        world.commit()
        await until(world, lambda: len(times(world, "change-ended", "outcome=failed")) > 9)
        starts, ends = times(world, "change-started"), times(world, "change-ended")
        pauses = [after - before for before, after in zip(ends, starts[1:], strict=False)]
        wanted = [5, 10, 20, 40, 80, 160, 300, 300, 300]
        assert [round(pause) for pause in pauses[:9]] == wanted
        assert all(pause >= least for pause, least in zip(pauses, wanted, strict=False))
        refused[0] = False
        await until(world, lambda: bool(times(world, "change-ended", "outcome=applied")))
        refused[0] = True
        world.around.lines.clear()
        world.fleet.change(PATH, number=3)
        world.commit()
        await until(world, lambda: len(times(world, "change-started")) > 1)
        again = times(world, "change-started")[1] - times(world, "change-ended")[0]
        assert round(again) == 5
        refused[0] = False
        await until(world, lambda: bool(times(world, "change-ended", "outcome=applied")))

    play(tmp_path, story)


def test_remedies_pause_longer_each_time_up_to_the_cap_and_anew_once_all_is_forgotten(tmp_path: Path) -> None:
    care = "ladder: [restart, quarantine], backoff: {initial: 10s, factor: 2, max: 2m}, attempts: 9"
    wanted = [10, 20, 40, 80, 120, 120, 120]

    async def story(world: World) -> None:
        world.care(care)
        nodes = world.clusters["eu-1"].nodes

        async def sick(remedies: int) -> RecoveryState:
            """Each pod that comes hangs, until so many remedies have been taken."""
            while True:
                for pod in nodes.pods():
                    nodes.hang(pod, hangs=True)
                await asyncio.sleep(0.5)
                state = (await record(world)).recovery
                if state is not None and state.step >= remedies and state.under_way is None:
                    for pod in nodes.hanging():
                        nodes.hang(pod, hangs=False)
                    return state

        state = await sick(8)
        taken = state.taken
        assert [item.ended for item in taken] == [Ended.DONE] * 8
        pauses = [(after.at_ms - before.ended_ms) / 1000 for before, after in itertools.pairwise(taken)]
        for pause, least in zip(pauses, wanted, strict=True):
            assert least <= pause <= least + 3 * SWEEP_S, pauses
        assert state.due_ms - taken[-1].ended_ms == 120_000

        await asyncio.sleep(2 * SWEEP_S)
        well = await recovery(world)
        assert well.well_ms > 0
        assert well.step == 8
        await asyncio.sleep((well.well_ms - world.around.clock.now_ms()) / 1000 + 240 - 1)
        assert (await recovery(world)).step == 8
        await asyncio.sleep(SWEEP_S + 2)
        assert (await recovery(world)).step == 0
        assert (await recovery(world)).since_ms == 0

        again = await sick(1)
        assert again.due_ms - again.taken[-1].ended_ms == 10_000

    play(tmp_path, story)


def test_one_that_falls_ill_again_and_again_gets_ten_restarts_a_day_and_then_is_left_to_people(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.care(f"{LADDER}, backoff: {{initial: 10s, factor: 2, max: 2m}}, attempts: 5")
        nodes = world.clusters["eu-1"].nodes
        for _ in range(15):
            for pod in nodes.pods():
                nodes.hang(pod, hangs=True)
            await asyncio.sleep(HOUR_S / 5)  # in which it is mended, well, and all that was counted is forgotten
        assert len(times(world, "remedy ", "remedy=restart")) == 10
        assert (await record(world)).quarantine is not None
        assert [(alert.name, alert.resolved) for alert in world.around.raised] == [("AgentQuarantined", False)]

    play(tmp_path, story)


def test_an_hour_in_which_nothing_can_be_reached_costs_one_alert_and_no_remedy(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for number in range(2, 8):
            name = AgentName(namespace="support", name=f"a{number}")
            world.fleet.agents[f"agents/support/a{number}.yaml"] = Wanted(name=name)
        world.commit()
        await until(world, lambda: len(times(world, "change-ended", "outcome=applied")) >= 7)
        await asyncio.sleep(5 * SWEEP_S)
        world.around.lines.clear()
        world.around.places["pods"].turn(Line.CUT)
        await asyncio.sleep(HOUR_S)
        assert times(world, "remedy ") == []
        assert [alert.resolved for alert in world.around.raised] == [False]
        world.around.places["pods"].turn(Line.WELL)
        await asyncio.sleep(5 * SWEEP_S)
        assert times(world, "remedy ") == []
        assert [alert.resolved for alert in world.around.raised] == [False, True]

    play(tmp_path, story)
