"""Sets of fields: made from objects, combined, printed, kept as JSON."""

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.adapters.embedded import fieldset
from reconciler.adapters.embedded.fieldset import Undeclared
from reconciler.adapters.embedded.schema_tables import KINDS, Shape
from reconciler.adapters.embedded.storage_values import canonical_quantity
from reconciler.model.units import Quantity

DEPLOYMENT = KINDS["apps", "Deployment"].node
CONFIG = KINDS["", "ConfigMap"].node
Fields = dict[str, Any]

_names = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'v:"y"'])
_sets = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(_names, inner, max_size=3).flatmap(
        lambda children: st.sampled_from([children, {".": {}, **children}] if children else [{}])
    ),
    max_leaves=8,
).map(lambda fields: {key: value for key, value in fields.items() if key != "."})


def members(fields: Fields) -> set[str]:
    return set(fieldset.paths(fields))


@given(_sets, _sets)
def test_union_difference_and_intersection_are_those_of_sets(left: Fields, right: Fields) -> None:
    before = copy.deepcopy((left, right))
    assert members(fieldset.union(left, right)) == members(left) | members(right)
    assert members(fieldset.difference(left, right)) == members(left) - members(right)
    assert members(fieldset.intersection(left, right)) == members(left) & members(right)
    assert (left, right) == before


@given(_sets)
def test_sets_survive_json_and_meet_themselves(fields: Fields) -> None:
    assert json.loads(json.dumps(fields)) == fields
    assert fieldset.union(fields, fields) == fields
    assert fieldset.difference(fields, fields) == {}
    assert fieldset.intersection(fields, fields) == fields


def test_paths_are_printed_as_api_servers_do() -> None:
    fields = {
        "f:spec": {
            "f:replicas": {},
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}}},
            "f:finalizers": {'v:"x/y"': {}},
        }
    }
    assert fieldset.paths(fields) == [
        '.spec.finalizers[="x/y"]',
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=80,protocol="TCP"].name',
        ".spec.replicas",
    ]


def test_stripping_takes_what_lies_below() -> None:
    fields = {"f:metadata": {"f:name": {}, "f:labels": {"f:a": {}}}, "f:status": {"f:x": {}}}
    strip: Fields = {"f:metadata": {"f:name": {}}, "f:status": {}}
    assert fieldset.without_below(fields, strip) == {"f:metadata": {"f:labels": {"f:a": {}}}}


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"data": {}}, {"f:data": {}}),
        ({"data": {"a": "1"}}, {"f:data": {"f:a": {}}}),
        ({"data": {"a": None}}, {"f:data": {"f:a": {}}}),
        ({"metadata": {"creationTimestamp": None}}, {"f:metadata": {"f:creationTimestamp": {}}}),
        ({"metadata": {"finalizers": ["x"]}}, {"f:metadata": {"f:finalizers": {'v:"x"': {}}}}),
        ({"metadata": {"finalizers": []}}, {}),
    ],
)
def test_what_a_value_says(value: Fields, fields: Fields) -> None:
    assert fieldset.fields_of(value, CONFIG) == fields


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"dota": {}}, ".dota"),
        ({"data": {"a": 1}}, ".data.a"),
        ({"data": ["a"]}, ".data"),
        ({"immutable": "yes"}, ".immutable"),
        ({"metadata": {"labels": {"a": {}}}}, ".metadata.labels.a"),
        ({"metadata": {"finalizers": "x"}}, ".metadata.finalizers"),
        ({"metadata": {"ownerReferences": [{"name": "x"}]}}, ".metadata.ownerReferences"),
        ({"metadata": {"ownerReferences": ["x"]}}, ".metadata.ownerReferences"),
        ({"metadata": {"finalizers": ["x", "x"]}}, ".metadata.finalizers"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(value: Fields, path: str) -> None:
    with pytest.raises(Undeclared) as caught:
        fieldset.fields_of(value, CONFIG)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"matchLabel": {}}},
        {"template": {"spec": {"tolerations": [{"keys": "x"}]}}},
        {"template": {"spec": {"containers": [{"name": "a", "args": [1]}]}}},
        {"template": {"spec": {"nodeSelector": {"a": 1}}}},
    ],
)
def test_the_inside_of_what_is_replaced_whole_is_checked_too(spec: Fields) -> None:
    with pytest.raises(Undeclared):
        fieldset.fields_of({"spec": spec}, DEPLOYMENT)


def test_tables_have_a_type_for_every_field() -> None:
    seen: set[int] = set()
    waiting = [kind.node for kind in KINDS.values()]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.shape is Shape.STRUCT:
            assert node.fields
        waiting += [one for one in (node.item, node.inner, *node.fields.values()) if one is not None]
    assert len(seen) > 300


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("1000m", "1"),
        ("1.50", "1500m"),
        ("0.5Gi", "512Mi"),
        ("1024Mi", "1Gi"),
        ("100m", "100m"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("0", "0"),
        ("0m", "0"),
        ("1e3", "1e3"),
        ("12e6", "12e6"),
        ("0.1Ki", "102400m"),
        ("1500Mi", "1500Mi"),
        ("1536Mi", "1536Mi"),
        ("0.0000000001", "1n"),
        (".5", "500m"),
        ("-1", "-1"),
        ("1e-1", "100e-3"),
        ("0.1Gi", "107374182400m"),
        ("1000E0", "1e3"),
        ("5.", "5."),
        ("+1", "+1"),
        ("1.500", "1.500"),
        ("1E0", "1E0"),
        ("0250m", "0250m"),
        ("01Gi", "01Gi"),
        ("08Gi", "8Gi"),
        ("9000000000Gi", "9223372036854775807"),
    ],
)
def test_quantities_are_stored_as_servers_store_them(text: str, stored: str) -> None:
    """As recorded from 1.36.3: canonically, but for texts that are close enough to that."""
    assert canonical_quantity(text) == stored
    assert canonical_quantity(stored) == stored


@pytest.mark.parametrize(
    ("text", "stored"),
    [("0.0001", "1m"), ("1500u", "2m"), ("1.0000", "1"), ("0.1Ki", "102400m"), ("1.500", "1.500"), ("1n", "1m")],
)
def test_amounts_of_resources_are_whole_thousandths(text: str, stored: str) -> None:
    assert canonical_quantity(text, milli=True) == stored


@pytest.mark.parametrize("text", ["", "x", "1x", "1 Gi", "NaN", "1_000", "１", "--1", "1e", "9" * 100])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        canonical_quantity(text)


@settings(max_examples=200)
@given(
    st.integers(0, 10**9),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"]),
)
def test_canonical_quantities_keep_their_value(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assume(Quantity.parse(text).value < 2**63)
    stored = canonical_quantity(text)
    assert Quantity.parse(stored) == Quantity.parse(text)
    assert canonical_quantity(stored) == stored
