"""When agents are swept: by their own intervals, spread, and nobody before what explains them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from reconciler.daemon.rota import SLOT_AGENTS, Rota
from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName
from reconciler.model.units import Duration
from tests.spec.writing import agent as written
from tests.spec.writing import read


def fleet(**intervals: str) -> dict[AgentName, Agent]:
    return {one.name: one for one in (with_interval(name, every) for name, every in intervals.items())}


ONE = read({"agents/support/one.yaml": written("{extends: [base], description: x}")}).agents[
    AgentName.parse("support/one")
]


def with_interval(name: str, every: str, depends_on: tuple[AgentName, ...] = ()) -> Agent:
    health = replace(ONE.spec.health, interval=Duration.parse(every))
    spec = replace(ONE.spec, health=health, depends_on=depends_on)
    return replace(ONE, name=AgentName(namespace="support", name=name), spec=spec)


def turns(rota: Rota, until: float, step: float = 0.5) -> dict[str, list[float]]:
    """Who was due when, asked every `step` seconds."""
    found: dict[str, list[float]] = {}
    now = 0.0
    while now <= until:
        for name in rota.due(now)[0]:
            found.setdefault(name.name, []).append(now)
        now += step
    return found


def test_each_agent_has_its_own_interval_and_everybody_is_due_at_first() -> None:
    rota = Rota(None)
    rota.keep(fleet(often="10s", seldom="1m"), 0.0)
    assert turns(rota, 120.0) == {
        "often": [10.0 * number for number in range(13)],
        "seldom": [0.0, 60.0, 120.0],
    }


def test_one_interval_for_all_where_it_is_given() -> None:
    rota = Rota(20.0)
    rota.keep(fleet(often="10s", seldom="1m"), 0.0)
    assert turns(rota, 40.0) == {"often": [0.0, 20.0, 40.0], "seldom": [0.0, 20.0, 40.0]}


def test_nobody_is_swept_without_rest() -> None:
    rota = Rota(None)
    rota.keep(fleet(mad="1ms"), 0.0)
    assert turns(rota, 3.0, step=0.25)["mad"] == [0.0, 1.0, 2.0, 3.0]


def test_what_others_depend_on_is_swept_as_often_as_they_are() -> None:
    base, middle = AgentName.parse("support/base"), AgentName.parse("support/middle")
    agents = {
        base: with_interval("base", "5m"),
        middle: with_interval("middle", "1m", (base,)),
        AgentName.parse("support/top"): with_interval("top", "10s", (middle,)),
    }
    rota = Rota(None)
    rota.keep(agents, 0.0)
    assert turns(rota, 30.0) == {name: [0.0, 10.0, 20.0, 30.0] for name in ("base", "middle", "top")}


def large(count: int, namespaces: int = 16) -> Mapping[AgentName, Agent]:
    names = [AgentName(namespace=f"space-{number % namespaces:02}", name=f"agent-{number}") for number in range(count)]
    return {name: replace(ONE, name=name) for name in names}


def test_a_large_fleet_is_swept_at_once_first_and_spread_over_the_interval_from_then_on() -> None:
    rota = Rota(None)
    rota.keep(large(8 * SLOT_AGENTS), 0.0)
    assert len(rota.due(0.0)[0]) == 8 * SLOT_AGENTS
    due = turns(rota, 90.0, step=0.25)
    assert all(len(times) >= 2 for times in due.values())
    gaps = {after - before for times in due.values() for before, after in pairwise(times)}
    assert gaps == {30.0}, "everybody keeps its interval"
    assert max(times[0] for times in due.values()) <= 45.0
    at_once = Counter(time % 30.0 for times in due.values() for time in times[-1:])
    assert at_once == {3.75 * slot: SLOT_AGENTS for slot in range(8)}


def test_agents_of_one_namespace_are_swept_together() -> None:
    rota = Rota(None)
    rota.keep(large(8 * SLOT_AGENTS, namespaces=3), 0.0)
    rota.due(0.0)
    moments: dict[float, set[str]] = {}
    for step in range(120):
        for name in rota.due(15.0 + step / 4)[0]:
            moments.setdefault(step / 4, set()).add(name.namespace)
    assert sorted(map(sorted, moments.values())) == [["space-00"], ["space-01"], ["space-02"]]


def test_a_small_fleet_is_swept_together() -> None:
    rota = Rota(None)
    rota.keep(large(SLOT_AGENTS), 0.0)
    assert {tuple(times) for times in turns(rota, 60.0).values()} == {(0.0, 30.0, 60.0)}


def test_who_comes_is_due_at_once_who_goes_is_gone_and_a_shorter_interval_counts_from_now() -> None:
    rota = Rota(None)
    rota.keep(fleet(stays="1m", goes="1m"), 0.0)
    rota.due(0.0)
    rota.keep(fleet(stays="10s", comes="1m"), 5.0)
    assert [name.name for name in rota.names] == ["comes", "stays"]
    assert [name.name for name in rota.due(5.0)[0]] == ["comes"]
    assert rota.pause(5.0) == 10.0
    assert [name.name for name in rota.due(15.0)[0]] == ["stays"]


def test_turns_that_passed_unused_are_counted_and_not_made_up_for() -> None:
    rota = Rota(None)
    rota.keep(fleet(one="10s"), 0.0)
    assert rota.due(0.0)[1] == 0
    names, missed = rota.due(47.0)
    assert ([name.name for name in names], missed) == (["one"], 3)
    assert rota.due(48.0) == ([], 0)


def test_nobody_to_sweep_is_no_pause() -> None:
    assert Rota(None).pause(0.0) is None
