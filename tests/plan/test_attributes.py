"""Fields that differ, none hidden; what many new agents inherit is worked out once, and reads as if each were alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.plan import Masked
from reconciler.model.source import Provenance
from reconciler.model.units import DURATION_PATTERN, QUANTITY_PATTERN
from reconciler.plan.attributes import Inherited, compare, created
from reconciler.spec.schema import files

KEYS = ("config", "env", "image", "tools")
DEFAULT = Provenance(layer="default", revision="", position=None)
leaves = st.sampled_from(["x", "1", 2, True, None, "500m"])
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "apiKey", "b"]), inner, max_size=3)
        | st.lists(st.builds(lambda name, value: {"name": name, "value": value}, st.sampled_from("ab"), inner))
    ),
    max_leaves=8,
)
shared = st.lists(values, min_size=1, max_size=4)


def alone(document: dict[str, Any], hidden: frozenset[tuple[str, ...]], origins: dict[str, Provenance]) -> object:
    return compare({}, document, sensitive=hidden, origin=lambda path: origins.get(path[0]))[0]


@given(shared, st.data())
def test_new_agents_read_as_if_each_were_compared_with_nothing(pool: list[Any], data: st.DataObject):
    inherited: Inherited = {}
    for _ in range(3):
        document = data.draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(pool), min_size=1))
        hidden = data.draw(st.frozensets(st.sampled_from([("config", "a"), ("env", "[a]", "value"), ("image",)])))
        origins = dict.fromkeys(data.draw(st.sets(st.sampled_from(KEYS))), DEFAULT)
        found = created(document, sensitive=hidden, origins=origins, inherited=inherited)
        assert found == alone(document, hidden, origins)


def test_a_value_that_one_agent_hides_is_hidden_for_that_one_alone():
    value, inherited = {"a": "x"}, Inherited()
    plain = created({"config": value}, sensitive=frozenset(), origins={}, inherited=inherited)
    secret = created({"config": value}, sensitive=frozenset({("config", "a")}), origins={}, inherited=inherited)
    again = created({"config": value}, sensitive=frozenset(), origins={}, inherited=inherited)
    assert [one.after for one in (*plain, *secret, *again)] == ["x", Masked.SENSITIVE, "x"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"env": [{"name": "A", "value": "60s"}]}, {"env": [{"name": "A", "value": "1m"}]}),
        ({"config": {"version": "1.10"}}, {"config": {"version": "1.1"}}),
        ({"config": {"timeout": "60s"}}, {"config": {"timeout": "1m"}}),
        ({"config": {"flag": 1}}, {"config": {"flag": True}}),
        ({"config": {"rates": [1, 2]}}, {"config": {"rates": [1, 2.0]}}),
        ({"modelConfig": {"parameters": {"cpu": "1000m"}}}, {"modelConfig": {"parameters": {"cpu": "1"}}}),
        ({"systemMessage": "60s"}, {"systemMessage": "1m"}),
        ({"deployment": {"selector": {"timeout": "60s"}}}, {"deployment": {"selector": {"timeout": "1m"}}}),
    ],
)
def test_free_text_is_compared_letter_by_letter(before: dict[str, object], after: dict[str, object]) -> None:
    changes, _ = compare(before, after, sensitive=frozenset(), origin=lambda _: None)
    assert len(changes) == 1


def test_every_field_with_a_unit_is_compared_by_value() -> None:
    schema = json.loads(files()["agent.json"])
    for name, one, other in measured(schema):
        before, after = {"autoscaling": {name: one}}, {"autoscaling": {name: other}}
        assert compare(before, after, sensitive=frozenset(), origin=lambda _: None) == ((), 1), name
    some, same = {"requests": {"example.com/gpu": "1000m"}}, {"requests": {"example.com/gpu": "1"}}
    assert compare({"resources": some}, {"resources": same}, sensitive=frozenset(), origin=lambda _: None) == ((), 1)


def measured(schema: object) -> Iterator[tuple[str, str, str]]:
    """The names of all fields of a schema that have a quantity or a duration, with two texts of one value."""
    if isinstance(schema, list):
        for item in schema:
            yield from measured(item)
    if not isinstance(schema, dict):
        return
    for name, field in (schema.get("properties") or {}).items():
        shown = json.dumps(field)
        if json.dumps(DURATION_PATTERN) in shown:
            yield name, "60s", "1m"
        if json.dumps(QUANTITY_PATTERN) in shown and name not in ("requests", "limits"):
            yield name, "1000m", "1"
    for item in schema.values():
        yield from measured(item)


def entry(server: str, names: list[str]) -> dict[str, Any]:
    return {"mcpServer": {"name": server, "toolNames": names}}


def test_entries_of_one_name_are_all_compared() -> None:
    old = [entry("t", ["a"]), entry("u", []), entry("t", ["b"])]
    new = [entry("t", ["x"]), entry("u", []), entry("t", ["b"])]
    changes, _ = compare({"tools": old}, {"tools": new}, sensitive=frozenset(), origin=lambda _: None)
    assert [change.path for change in changes] == [("tools", "[mcpServer:t]", "mcpServer", "toolNames")]
    changes, _ = compare({"tools": new}, {"tools": new[:2]}, sensitive=frozenset(), origin=lambda _: None)
    assert {change.path[:2] for change in changes} == {("tools", "[2]")}
    odd = {"config": {"list": [{"x": 1}, {"name": "0", "x": 2}, {"name": "0", "x": 3}]}}
    changes, _ = compare({}, odd, sensitive=frozenset(), origin=lambda _: None)
    assert {1, 2, 3} <= {change.after for change in changes}
