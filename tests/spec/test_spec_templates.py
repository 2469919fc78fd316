"""Templates: the rules of merging, and chains that cannot be walked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.identity import AgentName
from reconciler.spec.provenance import origin
from reconciler.spec.templates import merge, without_nulls
from tests.spec.writing import agent, codes, only, read, template

ONE = AgentName(namespace="demo", name="one")
PATH = "agents/demo/one.yaml"


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": None}, {}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": None}}, {"a": {"y": 2}}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}),
        ({"command": ["a", "b"]}, {"command": []}, {"command": []}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "C", "value": "3"}, {"name": "A", "value": "4"}]},
            {"env": [{"name": "A", "value": "4"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]},
        ),
        (
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "secret": {"name": "s", "key": "k"}}]},
            {"env": [{"name": "A", "secret": {"name": "s", "key": "k"}}]},
        ),
        (
            {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
            {"ports": [{"name": "http", "port": 8080}]},
            {"ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]},
        ),
        (
            {"skills": [{"id": "s", "name": "S", "tags": ["a"]}]},
            {"skills": [{"id": "s", "tags": ["b"]}]},
            {"skills": [{"id": "s", "name": "S", "tags": ["b"]}]},
        ),
        (
            {"tools": [{"mcpServer": {"name": "m", "toolNames": ["a"]}}, {"agent": {"name": "m"}}]},
            {"tools": [{"mcpServer": {"name": "m"}, "requireApproval": ["a"]}]},
            {
                "tools": [
                    {"mcpServer": {"name": "m", "toolNames": ["a"]}, "requireApproval": ["a"]},
                    {"agent": {"name": "m"}},
                ]
            },
        ),
        ({"replicas": 3}, {"autoscaling": {"max": 2}}, {"autoscaling": {"max": 2}}),
        ({"autoscaling": {"max": 2}}, {"replicas": 3}, {"replicas": 3}),
        (
            {"rollout": {"maxSurge": 1}},
            {"rollout": {"maxUnavailable": 1}},
            {"rollout": {"maxSurge": 1, "maxUnavailable": 1}},
        ),
        (
            {"placement": {"weights": {"http": 1}, "clusters": {"matchLabels": {"email": "a"}}}},
            {"placement": {"weights": {"tcp": 2}, "clusters": {"matchLabels": {"slack": "b"}}}},
            {
                "placement": {
                    "weights": {"http": 1, "tcp": 2},
                    "clusters": {"matchLabels": {"email": "a", "slack": "b"}},
                }
            },
        ),
        (
            {"disruption": {"minAvailable": 1}},
            {"disruption": {"maxUnavailable": 1}},
            {"disruption": {"maxUnavailable": 1}},
        ),
        (
            {"probes": {"liveness": {"http": {"path": "/"}, "period": "1s"}}},
            {"probes": {"liveness": {"tcp": {"port": 1}}}},
            {"probes": {"liveness": {"tcp": {"port": 1}, "period": "1s"}}},
        ),
        (
            {"resources": {"limits": {"cpu": "1"}}},
            {"resources": {"limits": {"memory": "1Gi"}}},
            {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
        ),
        (
            {"health": {"checks": [{"name": "a", "resources": {"cpu": "9%"}}]}},
            {"health": {"checks": [{"name": "a", "a2aCard": {}}]}},
            {"health": {"checks": [{"name": "a", "a2aCard": {}}]}},
        ),
        ({"config": {"http": {"a": 1}}}, {"config": {"tcp": 2}}, {"config": {"http": {"a": 1}, "tcp": 2}}),
        ({"a": "text"}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_one_layer_on_another(base: dict[str, Any], over: dict[str, Any], result: dict[str, Any]) -> None:
    kept = repr((base, over))
    assert without_nulls(merge(base, over)) == result
    assert repr((base, over)) == kept, "neither layer is changed"


KEYS = st.sampled_from(["a", "b", "c", "name"])
VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.just("x"),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
LAYERS = st.dictionaries(KEYS, VALUES, max_size=4)
MAPS = st.recursive(
    st.integers(0, 3) | st.just("x"), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
PLAIN = st.dictionaries(KEYS, MAPS, max_size=4)


@given(LAYERS)
def test_a_layer_on_itself_or_on_nothing_is_itself(layer: dict[str, Any]) -> None:
    assert merge({}, layer) == layer
    assert merge(layer, {}) == layer
    if not _twice_named(layer):
        assert without_nulls(merge(layer, layer)) == without_nulls(layer)


@given(PLAIN, PLAIN, PLAIN)
def test_mappings_merge_in_any_grouping(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    if _same_kinds(one, two) and _same_kinds(two, three) and _same_kinds(one, three):
        assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(LAYERS, LAYERS)
def test_nulls_below_may_be_taken_out_before_a_layer_is_laid_on(base: dict[str, Any], over: dict[str, Any]) -> None:
    assert without_nulls(merge(without_nulls(base), over)) == without_nulls(merge(base, over))


@given(LAYERS, st.sampled_from(["a", "b", "c"]))
def test_null_removes_what_is_below(layer: dict[str, Any], key: str) -> None:
    assert without_nulls(merge(layer, {key: None})) == without_nulls({k: v for k, v in layer.items() if k != key})


@given(LAYERS)
def test_without_nulls_leaves_no_null_key_and_changes_nothing_else(layer: dict[str, Any]) -> None:
    cleaned = without_nulls(layer)
    assert without_nulls(cleaned) is cleaned

    def keys(value: Any) -> bool:
        if isinstance(value, dict):
            return all(item is not None and keys(item) for item in value.values())
        return all(map(keys, value)) if isinstance(value, list) else True

    assert keys(cleaned)


def _twice_named(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_twice_named, value.values()))
    if isinstance(value, list):
        names = [item["name"] for item in value if isinstance(item, dict) and isinstance(item.get("name"), str)]
        return len(names) != len(set(names)) or any(map(_twice_named, value))
    return False


def _same_kinds(one: Any, two: Any) -> bool:
    """Whether a mapping meets only mappings: text between two mappings wipes the first away, in one grouping only."""
    if isinstance(one, dict) != isinstance(two, dict):
        return False
    return not isinstance(one, dict) or all(_same_kinds(one[key], two[key]) for key in one.keys() & two.keys())


def test_parents_go_from_left_to_right_and_the_file_comes_last() -> None:
    declaration = read(
        {
            "templates/left.yaml": template("left", "{image: left, description: left, systemMessage: left}"),
            "templates/right.yaml": template("right", "{image: right, description: right}"),
            PATH: agent("{extends: [left, right], image: own}"),
        }
    )
    spec = declaration.agents[ONE].spec
    assert (spec.system_message, spec.description, spec.image) == ("left", "right", "own")
    assert [layer.name for layer in declaration.agents[ONE].layers] == ["left", "right", ""]


def test_a_template_that_is_reached_twice_counts_where_it_comes_first() -> None:
    declaration = read(
        {
            "templates/a.yaml": template("a", "{extends: [base], description: a}"),
            "templates/b.yaml": template("b", "{extends: [base], wave: 2}"),
            PATH: agent("{extends: [a, b]}"),
        }
    )
    assert [layer.name for layer in declaration.agents[ONE].layers] == ["base", "a", "b", ""]
    assert declaration.templates["base"] == {AgentName(namespace="demo", name="good"), ONE}


def test_null_takes_a_template_s_field_back_to_its_default() -> None:
    spec = read({PATH: agent("{extends: [base], ports: null, resources: {limits: null}, unknownHere: null}")})
    one = spec.agents[ONE]
    assert one.spec.ports == ()
    assert one.document["ports"] == []
    assert one.document["resources"]["limits"] == {}


def test_an_unknown_template_is_told_with_the_nearest_name() -> None:
    found = only(read({PATH: agent("extends: [bsae]\nimage: x")}))
    assert (found.code, found.message, found.hint) == (
        "unknown-template",
        "unknown template 'bsae'",
        "did you mean 'base'?",
    )
    assert (found.position.line, found.position.column, found.position.length) == (5, 13, 4)
    assert found.snippet == "  extends: [bsae]"


def test_a_circle_of_templates_freezes_its_agents_and_prints_the_chain() -> None:
    declaration = read(
        {
            "templates/a.yaml": template("a", "{extends: [b], image: x}"),
            "templates/b.yaml": template("b", "{extends: [a]}"),
            PATH: agent("{extends: [a]}"),
        }
    )
    assert codes(declaration) == ["template-cycle"] * 3
    assert {found.chain for found in declaration.diagnostics} == {("a -> b -> a",), ("b -> a -> b",)}
    assert declaration.frozen_agents[ONE].reason == "the template 'a' extends itself"
    assert declaration.templates["b"] == {ONE}


def test_a_template_that_extends_itself() -> None:
    assert codes(read({"templates/a.yaml": template("a", "{extends: [a]}")})) == ["template-cycle"]


@pytest.mark.parametrize(("steps", "sound"), [(16, True), (17, False), (200, False)])
def test_a_chain_of_templates_has_an_end(steps: int, sound: bool) -> None:
    texts = {
        f"templates/t{number}.yaml": template(
            f"t{number}", "{image: x}" if number == 1 else f"{{extends: [t{number - 1}]}}"
        )
        for number in range(1, steps + 1)
    }
    declaration = read({**texts, PATH: agent(f"{{extends: [t{steps}]}}")})
    assert (ONE in declaration.agents) is sound
    if not sound:
        assert set(codes(declaration)) == {"template-chain"}
        assert declaration.frozen_agents[ONE].diagnostics[0].chain[0].startswith(f"t{steps} -> t{steps - 1} -> ")
        assert f"templates/t{steps}.yaml" in {found.position.path for found in declaration.diagnostics}
        assert "templates/t16.yaml" not in {found.position.path for found in declaration.diagnostics}


def test_too_many_templates_side_by_side() -> None:
    texts = {}
    for group in range(8):
        for number in range(16):
            texts[f"templates/g{group}-{number}.yaml"] = template(f"g{group}-{number}", "{wave: 1}")
        names = ", ".join(f"g{group}-{number}" for number in range(16))
        texts[f"templates/g{group}.yaml"] = template(f"g{group}", f"{{extends: [{names}]}}")
    declaration = read({**texts, PATH: agent("{image: x, extends: [" + ", ".join(f"g{n}" for n in range(8)) + "]}")})
    assert only(declaration).code == "template-chain"


def test_a_template_whose_file_is_broken_freezes_its_agents_and_is_named() -> None:
    declaration = read({"templates/base.yaml": b"a: [", PATH: agent("{image: x}")})
    good = AgentName(namespace="demo", name="good")
    assert set(declaration.agents) == {ONE}
    assert declaration.frozen_agents[good].reason == "unknown template 'base'"
    assert declaration.frozen_agents[good].diagnostics[0].hint == "templates/base.yaml cannot be read"
    assert "templates/base.yaml" in declaration.frozen_paths
    assert declaration.templates == {"base": {good}}, "the blast radius of what is missing"


def test_a_template_with_a_bad_value_freezes_its_agents_at_the_template_s_line() -> None:
    declaration = read({"templates/base.yaml": template("base", "image: x\nreplicas: -1")})
    found = only(declaration)
    assert (str(found.position), found.code) == ("templates/base.yaml:6:13", "out-of-range")
    assert list(declaration.frozen_agents) == [AgentName(namespace="demo", name="good")]


def test_a_bad_value_of_a_template_that_an_agent_replaces_harms_only_others() -> None:
    declaration = read(
        {
            "templates/base.yaml": template("base", "image: x\nreplicas: -1"),
            PATH: agent("{extends: [base], replicas: 1}"),
        }
    )
    assert ONE in declaration.agents
    assert codes(declaration) == ["out-of-range"]


def test_a_template_declared_twice_counts_nowhere() -> None:
    declaration = read({"templates/again.yaml": template("base", "{image: y}")})
    assert codes(declaration) == ["unknown-template", "declared-twice", "declared-twice"]
    assert not declaration.agents
    assert "templates/again.yaml" in declaration.diagnostics[2].message


def test_a_template_may_hold_half_of_a_mapping() -> None:
    declaration = read(
        {
            "templates/half.yaml": template("half", "{image: x, autoscaling: {min: 2}, skills: [{id: s, name: S}]}"),
            PATH: agent(
                "{extends: [half], autoscaling: {max: 4, metrics: [{pods: {name: q, average: '3'}}]},"
                " skills: [{id: s, description: D}]}"
            ),
        }
    )
    assert codes(declaration) == []
    spec = declaration.agents[ONE].spec
    assert spec.autoscaling is not None
    assert (spec.autoscaling.min, spec.autoscaling.max, spec.replicas) == (2, 4, None)
    assert spec.skills[0].description == "D"


@pytest.mark.parametrize(
    ("own", "path"),
    [
        ("{extends: [base], ports: null}", ("ports", "[http]", "port")),
        ("{extends: [base], ports: []}", ("ports", "[http]", "port")),
        ("{extends: [base], resources: null}", ("resources", "limits", "memory")),
        ("{extends: [base], resources: {limits: null}}", ("resources", "limits", "memory")),
    ],
)
def test_null_in_an_agents_own_file_is_where_all_below_it_was_taken_away(own: str, path: tuple[str, ...]) -> None:
    found = origin(read({"agents/demo/one.yaml": agent(own)}).agents[ONE], path)
    assert found is not None
    assert found.layer == "agent"
    assert found.position is not None
    assert found.position.path == "agents/demo/one.yaml"


def test_what_a_template_writes_below_another_templates_null_is_its_own() -> None:
    declaration = read(
        {
            "templates/bare.yaml": template("bare", "{extends: [base], resources: null}"),
            "templates/again.yaml": template("again", "{extends: [bare], resources: {limits: {memory: 1Gi}}}"),
            "agents/demo/one.yaml": agent("{extends: [again]}"),
        }
    )
    found = origin(declaration.agents[ONE], ("resources", "limits", "memory"))
    assert found is not None
    assert found.layer == "template again"
