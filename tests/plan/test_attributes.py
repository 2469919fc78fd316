"""Fields of new agents: what many inherit is worked out once, and reads as if each had been looked at alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.plan import Masked
from reconciler.model.source import Provenance
from reconciler.plan.attributes import Inherited, compare, created

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
