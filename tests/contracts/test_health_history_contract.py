"""The history of health, which every registry keeps in the same way: changes, points, what is merged and what goes."""

from __future__ import annotations

from dataclasses import replace

from reconciler.model.agent import Dimension
from reconciler.model.health import HealthState
from reconciler.model.identity import AgentName
from reconciler.model.series import (
    DAY_MS,
    FINE_MS,
    HOUR_MS,
    CheckMark,
    HealthChange,
    HealthPoint,
    Latencies,
    Retention,
    latencies_of,
    merged,
    widened,
)
from tests.contracts.values import MINER, TRIAGE, record, write

NOW = 1_800_000_000_000
HOUR = NOW - NOW % HOUR_MS
LATER = HOUR + 100 * DAY_MS
KEPT = Retention()


def change(
    agent: AgentName = TRIAGE, at_ms: int = NOW, state: HealthState = HealthState.UNHEALTHY, **more
) -> HealthChange:
    """A change with something in every field."""
    marks = (
        CheckMark(name="answers", dimension=Dimension.CONNECTIVITY, state=HealthState.UNHEALTHY),
        CheckMark(name="fast", dimension=Dimension.PERFORMANCE, state=HealthState.HEALTHY, critical=False),
    )
    made = HealthChange(
        agent=agent, at_ms=at_ms, state=state, was=HealthState.HEALTHY, text="1 of 2 do not answer: ü",
        well_ms=at_ms - 60, flapping=True, turns=5, checks=marks,
    )  # fmt: skip
    return replace(made, **more)


def point(agent: AgentName = TRIAGE, start_ms: int = HOUR, *latencies_ms: float, count: int = 10) -> HealthPoint:
    return HealthPoint(
        agent=agent, start_ms=start_ms, span_ms=FINE_MS, count=count, up=count - 1, last_ms=start_ms + 270_000,
        latencies=latencies_of(latencies_ms),
    )  # fmt: skip


async def put(registry, changes=(), points=(), op_id: str = "") -> None:
    await registry.record_health(changes, points, op_id=op_id or registry.new_id())


async def points_of(registry, name, span_ms: int = FINE_MS, *, since_ms: int = 0, until_ms: int = LATER):
    return await registry.health_points(name, since_ms=since_ms, until_ms=until_ms, span_ms=span_ms)


async def test_where_nothing_is_on_record_nothing_is_found(registry) -> None:
    assert await registry.health_changes(None, since_ms=0) == ()
    assert await registry.health_changes(TRIAGE, since_ms=0) == ()
    assert await points_of(registry, None, HOUR_MS) == ()
    assert await points_of(registry, TRIAGE) == ()
    assert await registry.prune_health(KEPT, now_ms=NOW, most=10) == 0


async def test_changes_come_back_as_they_were_written_by_agent_and_time(registry, open_registry) -> None:
    late, early, other = change(), change(at_ms=NOW - 5, state=HealthState.DEGRADED), change(MINER, NOW - 1)
    await put(registry, [late, other, early])
    again = await open_registry()
    assert await again.health_changes(None, since_ms=0) == (other, early, late)
    assert await again.health_changes(TRIAGE, since_ms=0) == (early, late)
    assert await again.health_changes(TRIAGE, since_ms=NOW) == (late,)


async def test_of_each_agent_the_last_change_is_told_however_old_it_is(registry) -> None:
    old, older, new = change(at_ms=10), change(at_ms=5), change(MINER, NOW)
    await put(registry, [old, older, new])
    assert await registry.health_changes(None, since_ms=NOW - 1) == (new, old)
    assert await registry.health_changes(TRIAGE, since_ms=NOW - 1) == (old,)


async def test_a_change_at_the_same_moment_replaces_the_one_before(registry) -> None:
    await put(registry, [change(text="first")])
    await put(registry, [change(text="second")])
    assert [each.text for each in await registry.health_changes(TRIAGE, since_ms=0)] == ["second"]


async def test_points_come_back_as_they_were_written_and_as_the_hour_that_they_are_part_of(
    registry, open_registry
) -> None:
    first, second = point(TRIAGE, HOUR, 10, 20), point(TRIAGE, HOUR + FINE_MS, 30)
    other, later = point(MINER, HOUR), point(TRIAGE, HOUR + HOUR_MS, 40.5)
    await put(registry, points=[later, second, other, first])
    again = await open_registry()
    assert await points_of(again, None) == (other, first, second, later)
    assert await points_of(again, TRIAGE, since_ms=HOUR + FINE_MS) == (
        second,
        later,
    )
    assert await points_of(again, TRIAGE, until_ms=HOUR + FINE_MS) == (first,)
    hours = await points_of(again, TRIAGE, HOUR_MS)
    assert hours == (merged(widened(first, HOUR_MS), widened(second, HOUR_MS)), widened(later, HOUR_MS))
    assert hours[0].latencies == latencies_of([10, 20, 30])


async def test_a_point_of_a_span_that_is_on_record_is_merged_with_it(registry, open_registry) -> None:
    """Two daemons that take turns within five minutes each know a part of them."""
    await put(registry, points=[point(TRIAGE, HOUR, 10, count=3), point(MINER, HOUR, count=3)])
    await put(await open_registry(), points=[point(TRIAGE, HOUR, 20, count=7)])
    (found,) = await points_of(registry, TRIAGE)
    assert (found.count, found.up, found.latencies) == (10, 8, latencies_of([10, 20]))
    assert [each.count for each in await points_of(registry, None, HOUR_MS)] == [
        3,
        10,
    ]


async def test_a_write_that_is_repeated_adds_nothing(registry) -> None:
    for _ in range(3):
        await put(registry, [change()], [point(TRIAGE, HOUR, 10), point(TRIAGE, HOUR + FINE_MS, 10)], op_id="same")
    assert [each.count for each in await points_of(registry, None)] == [
        10,
        10,
    ]
    assert [each.count for each in await points_of(registry, None, HOUR_MS)] == [20]
    assert len(await registry.health_changes(None, since_ms=0)) == 1


async def test_a_write_that_is_repeated_after_those_of_others_adds_nothing(registry) -> None:
    """As where the answer to a write of one of several daemons was lost."""
    for op_id in ("mine", "theirs", "another's", "mine", "theirs"):
        await put(registry, (), [point(TRIAGE, HOUR, 10)], op_id=op_id)
    assert [each.count for each in await points_of(registry, None)] == [30]
    assert [each.count for each in await points_of(registry, None, HOUR_MS)] == [30]


async def test_many_agents_are_kept_apart(registry) -> None:
    names = sorted(AgentName(namespace="many", name=f"agent-{number}") for number in range(600))
    await put(registry, [change(name, NOW) for name in names], [point(name, HOUR, 5) for name in names])
    assert [each.agent for each in await points_of(registry, None, HOUR_MS)] == names
    assert [each.agent for each in await registry.health_changes(None, since_ms=NOW + 1)] == names
    assert await points_of(registry, names[7]) == (point(names[7], HOUR, 5),)


async def test_who_plans_is_not_woken_and_the_audit_says_nothing(registry) -> None:
    await registry.commit(write(record()))
    before = await registry.snapshot()
    await put(registry, [change()], [point()])
    assert await registry.snapshot() == before
    assert [item async for item in registry.changes(1)] == []
    assert (await registry.verify_audit()).count == 0


async def test_what_is_too_old_goes_in_steps(registry) -> None:
    fine = [point(TRIAGE, HOUR - DAY_MS - HOUR_MS + step * FINE_MS) for step in range(3)]
    new = point(TRIAGE, HOUR - FINE_MS)
    await put(registry, points=[*fine, new])
    assert [await registry.prune_health(KEPT, now_ms=HOUR, most=2) for _ in range(3)] == [2, 1, 0]
    assert await points_of(registry, None) == (new,)
    assert len(await points_of(registry, None, HOUR_MS)) == 2, "hours are kept longer"
    assert await registry.prune_health(KEPT, now_ms=HOUR + 40 * DAY_MS, most=10) == 3
    assert await points_of(registry, None, HOUR_MS) == ()


async def test_the_last_change_of_an_agent_stays_unless_nobody_looks_at_it_any_more(registry) -> None:
    old = [change(at_ms=at_ms) for at_ms in (10, 20, 30)]
    gone = [change(MINER, 5), change(MINER, 6, HealthState.UNKNOWN)]
    await put(registry, [*old, *gone])
    assert [await registry.prune_health(KEPT, now_ms=NOW, most=3) for _ in range(3)] == [3, 1, 0]
    assert await registry.health_changes(None, since_ms=0) == (old[2],)


async def test_a_young_change_keeps_no_old_one(registry) -> None:
    await put(registry, [change(at_ms=10), change(at_ms=NOW)])
    assert await registry.prune_health(KEPT, now_ms=NOW, most=100) == 1
    assert await registry.health_changes(TRIAGE, since_ms=0) == (change(at_ms=NOW),)


async def test_latencies_of_nothing_and_of_much_are_kept(registry) -> None:
    none = replace(point(), latencies=Latencies())
    much = point(MINER, HOUR, *[float(number) for number in range(1, 500)])
    await put(registry, points=[none, much])
    assert await points_of(registry, None) == (much, none)
