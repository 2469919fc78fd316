"""The one ordering function: waves of what comes, and of what goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName
from reconciler.plan.order import deletion_waves, waves
from tests.plan.builders import declare, fleet_files

((_, PLAIN),) = declare(fleet_files("x/a")).agents.items()


def name(short: str) -> AgentName:
    return AgentName(namespace="x", name=short)


def agents(needs: Mapping[str, str], own: Mapping[str, int] | None = None) -> dict[AgentName, Agent]:
    """Agents by name, with the names that each depends on, and the `wave` of some."""
    return {
        name(one): dataclasses.replace(
            PLAIN,
            name=name(one),
            spec=dataclasses.replace(
                PLAIN.spec, depends_on=tuple(name(other) for other in others.split()), wave=(own or {}).get(one, 0)
            ),
        )
        for one, others in needs.items()
    }


def ordered(needs: Mapping[str, str], own: Mapping[str, int] | None = None, asked: str = "") -> dict[str, int]:
    given = agents(needs, own)
    levels, cyclic = waves(given, [name(one) for one in asked.split()] or given)
    assert cyclic == set()
    return {one.name: level for one, level in levels.items()}


@pytest.mark.parametrize(
    ("needs", "own", "levels"),
    [
        ({"a": "", "b": "a", "c": "b"}, {}, {"a": 0, "b": 1, "c": 2}),
        ({"c": "b", "b": "a", "a": ""}, {}, {"a": 0, "b": 1, "c": 2}),
        ({"a": "", "b": "", "c": "a b"}, {"b": 4}, {"a": 0, "b": 4, "c": 5}),
        ({"a": "", "b": "a"}, {"b": 1}, {"a": 0, "b": 1}),
        ({"a": "", "b": "a"}, {"b": 2}, {"a": 0, "b": 2}),
        ({"a": "", "b": "a"}, {"a": -3}, {"a": -3, "b": 0}),
        ({"a": "gone"}, {"a": 1}, {"a": 1}),
        ({"top": "left right", "left": "base", "right": "mid", "mid": "base", "base": ""}, {}, None),
    ],
)
def test_a_wave_is_at_least_ones_own_and_after_all_that_is_needed(
    needs: dict[str, str], own: dict[str, int], levels: dict[str, int] | None
) -> None:
    diamond = {"base": 0, "left": 1, "mid": 1, "right": 2, "top": 3}
    assert ordered(needs, own) == (levels or diamond)


def test_no_more_agents_are_looked_at_than_must_be() -> None:
    assert ordered({"a": "", "b": "a", "c": "b", "d": ""}, asked="b") == {"a": 0, "b": 1}
    assert waves(agents({"a": ""}), []) == ({}, set())


def test_a_chain_may_be_as_long_as_the_fleet() -> None:
    needs = {"a0": ""} | {f"a{number}": f"a{number - 1}" for number in range(1, 3000)}
    assert ordered(needs, asked="a2999")["a2999"] == 2999


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        ({"a": "a"}, "a"),
        ({"a": "b", "b": "a"}, "a b"),
        ({"lead": "a", "a": "b", "b": "c", "c": "a", "free": ""}, "a b c"),
        ({"lead": "a free", "a": "b leaf", "b": "a", "free": "", "leaf": ""}, "a b"),
        ({"a": "b", "b": "a", "c": "d", "d": "c", "e": "a c"}, "a b c d"),
    ],
)
def test_only_who_stands_in_a_cycle_is_named_and_all_get_a_wave(needs: dict[str, str], cycle: str) -> None:
    given = agents(needs)
    levels, cyclic = waves(given, given)
    assert cyclic == {name(one) for one in cycle.split()}
    assert levels.keys() == given.keys()


@pytest.mark.parametrize(
    ("needs", "first", "expected"),
    [
        ({}, 3, {}),
        ({"a": ""}, 3, {"a": 3}),
        ({"a": "", "b": "a", "c": "b"}, 0, {"c": 0, "b": 1, "a": 2}),
        ({"a": "", "b": "a stays", "c": "a"}, 2, {"b": 2, "c": 2, "a": 3}),
        ({"base": "", "left": "base", "mid": "base", "right": "mid", "top": "left right"}, 1, None),
        ({"a": "b", "b": "a", "c": "a"}, 5, {"a": 6, "b": 5, "c": 5}),
    ],
)
def test_what_goes_goes_before_all_that_it_needs(
    needs: dict[str, str], first: int, expected: dict[str, int] | None
) -> None:
    leaving = {name(one): tuple(name(other) for other in others.split()) for one, others in needs.items()}
    diamond = {"top": 1, "left": 2, "right": 2, "mid": 3, "base": 4}
    found = deletion_waves(leaving, first)
    assert {one.name: wave for one, wave in found.items()} == (diamond if expected is None else expected)
