"""Which routes there are, what goes to which, and which silences hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.alerting import matches, routes_of, silenced
from reconciler.model.agent import AlertRoute
from reconciler.model.fleet import Declaration, FleetSpec, Frozen, SqliteRegistry
from reconciler.model.source import Revision
from tests.alerting.builders import HOUR, START_MS, alert, name, route, silence
from tests.placement.builders import agent

A = alert("support/triage", "warning", labels={"team": "a"}, cluster="eu")
FLEET = alert("", name="PassesFailing")


@pytest.mark.parametrize(
    ("match", "yes"),
    [
        ({}, True),
        ({"severity": "info"}, True),
        ({"severity": "warning"}, True),
        ({"severity": "critical"}, False),
        ({"name": "AgentUnhealthy"}, True),
        ({"name": "ChangeFailed"}, False),
        ({"namespace": "support"}, True),
        ({"namespace": "research"}, False),
        ({"labels.team": "a"}, True),
        ({"labels.team": "b"}, False),
        ({"labels.other": "a"}, False),
        ({"severity": "warning", "namespace": "support", "labels.team": "a"}, True),
        ({"severity": "warning", "namespace": "support", "labels.team": "b"}, False),
    ],
)
def test_all_that_a_route_names_has_to_match(match: dict[str, str], yes: bool) -> None:
    assert matches(route(match=match), A) is yes


def test_what_is_of_no_agent_goes_to_no_route_that_asks_for_one() -> None:
    assert matches(route(match={"severity": "critical"}), FLEET)
    assert not matches(route(match={"namespace": "support"}), FLEET)
    assert not matches(route(match={"labels.team": "a"}), FLEET)
    assert not matches(route(agents=frozenset({name("support/triage")})), FLEET)


def declared(agents: dict[str, tuple[AlertRoute, ...]], *routes: AlertRoute, **more: Any) -> Declaration:
    made = {name(one): agent(one, alerts=alerts) for one, alerts in agents.items()}
    given: dict[str, Any] = {
        "revision": Revision(commit="c"), "agents": made, "frozen_agents": {}, "frozen_paths": {}, "templates": {},
        "diagnostics": (), "fleet": FleetSpec(name="acme", clusters=(), registry=SqliteRegistry(), alerts=routes),
    }  # fmt: skip
    return Declaration(**given | more)


ONE = AlertRoute(name="team", receiver="slack", settings={"urlEnv": "A"})
OTHER = replace(ONE, settings={"urlEnv": "B"})


def test_equal_routes_of_agents_are_one_and_those_of_one_name_that_differ_are_not() -> None:
    found = routes_of(declared({"x/a": (ONE,), "x/b": (ONE,), "x/c": (OTHER,)}, replace(ONE, name="fleet")))
    by_address = {(one.said.name, one.said.settings["urlEnv"]): one.agents for one in found}
    assert by_address == {
        ("fleet", "A"): None,
        ("team", "A"): frozenset({name("x/a"), name("x/b")}),
        ("team", "B"): frozenset({name("x/c")}),
    }
    assert len({one.id for one in found}) == 3


def test_agents_that_cannot_be_used_now_keep_their_routes() -> None:
    before = routes_of(declared({"x/a": (ONE,), "x/b": (ONE,)}))
    broken = declared({"x/b": ()}, frozen_agents={name("x/a"): Frozen(reason="broken")})
    assert [(one.id, one.agents) for one in routes_of(broken, before)] == [(before[0].id, frozenset({name("x/a")}))]
    assert routes_of(declared({"x/b": ()}), before) == ()
    assert routes_of(declared({}, fleet=None), before) == before


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        ({}, True),
        ({"name": "AgentUnhealthy"}, True),
        ({"name": "ChangeFailed"}, False),
        ({"agent": name("support/triage")}, True),
        ({"agent": name("support/other")}, False),
        ({"namespace": "support", "labels": {"team": "a"}}, True),
        ({"namespace": "support", "labels": {"team": "b"}}, False),
        ({"cluster": "eu"}, True),
        ({"cluster": "us"}, False),
    ],
)
def test_a_silence_holds_for_what_matches_all_of_it(said: dict[str, Any], yes: bool) -> None:
    assert (silenced(A, [silence(**said)], START_MS) is not None) is yes


def test_a_silence_begins_and_ends_and_of_several_the_longest_counts() -> None:
    short, long = silence(until_ms=START_MS + HOUR), silence(id="s2", until_ms=START_MS + 2 * HOUR)
    assert silenced(A, [long, short], START_MS) == long
    assert silenced(A, [short], START_MS - 1) is None
    assert silenced(A, [short], START_MS + HOUR) is None
