"""What differs between two mappings is what a look at each key finds, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.differing import differing, patched
from reconciler.model.identity import AgentName

KEYS = [f"key {number}" for number in range(8)]
values = st.integers(0, 2).map(lambda number: [number])
mappings = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=8).map(dict)


@given(mappings, mappings)
def test_every_key_that_came_went_or_has_another_object_is_named_once(before, now):
    found = differing(before, now)
    wanted = {key for key in before.keys() | now.keys() if before.get(key) is not now.get(key)}
    assert len(found) == len(wanted)
    assert set(found) == wanted


@given(mappings, st.lists(st.tuples(st.sampled_from(KEYS), st.none() | values), max_size=3), st.booleans())
def test_a_copy_with_some_keys_changed_differs_in_these_alone(before, changes, sort):
    now = dict(before)
    for key, value in changes:
        if value is None:
            now.pop(key, None)
        else:
            now[key] = value
    if sort:
        now = dict(sorted(now.items()))
    wanted = {key for key in before.keys() | now.keys() if before.get(key) is not now.get(key)}
    assert set(differing(before, now)) == wanted


@given(mappings, mappings)
def test_values_that_are_the_same_to_the_asker_are_no_difference(before, now):
    wanted = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    assert set(differing(before, now, lambda one, other: one == other)) == wanted


def named() -> dict[AgentName, int]:
    return {AgentName(namespace="support", name=f"agent-{number}"): number for number in range(3)}


def test_equal_keys_that_are_other_objects_are_the_same_keys():
    assert differing(named(), named()) == []


@given(mappings, st.dictionaries(st.sampled_from(KEYS), st.none() | values))
def test_a_patched_mapping_is_sorted_and_holds_what_changed(before, changes):
    sorted_ = dict(sorted(before.items()))
    wanted = {key: value for key, value in {**before, **changes}.items() if value is not None}
    assert list(patched(sorted_, changes, str).items()) == sorted(wanted.items())
