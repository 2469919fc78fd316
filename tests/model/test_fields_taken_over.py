"""Taking fields over from hand edits: what moves between entries of managedFields, and what stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.ownership import OwnedPath, taken

EDIT = {"manager": "kubectl-edit", "operation": "Update", "time": "then"}


def entry(manager: str, operation: str, fields: dict[str, Any], subresource: str = "") -> dict[str, Any]:
    found = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields}
    return found | ({"subresource": subresource} if subresource else {})


def by_owner(entries: list[Any]) -> dict[tuple[str, str], Any]:
    return {(item["manager"], item["operation"]): item["fieldsV1"] for item in entries}


def take(entries: list[dict[str, Any]], *paths: OwnedPath) -> dict[tuple[str, str], Any]:
    before = copy.deepcopy(entries)
    found = by_owner(taken(entries, paths, manager="reconciler", api_version="v1"))
    assert entries == before, "entries may be shared between objects"
    return found


def test_a_field_moves_with_all_that_is_below_it() -> None:
    edit = entry("kubectl-edit", "Update", {"f:spec": {"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}})
    ours = entry("reconciler", "Apply", {"f:spec": {"f:e": {}}})
    assert take([ours, edit], ("f:spec", "f:a")) == {
        ("reconciler", "Apply"): {"f:spec": {"f:e": {}, "f:a": {}}},
        ("kubectl-edit", "Update"): {"f:spec": {"f:d": {}}},
    }


def test_an_entry_without_fields_is_gone() -> None:
    edit = entry("kubectl-edit", "Update", {"f:spec": {"f:a": {}}})
    assert take([edit], ("f:spec", "f:a")) == {("reconciler", "Apply"): {"f:spec": {"f:a": {}}}}


def test_what_others_applied_and_wrote_elsewhere_stays() -> None:
    entries = [
        entry("policy", "Apply", {"f:spec": {"f:a": {}}}),
        entry("reconciler", "Apply", {"f:spec": {"f:b": {}}}),
        entry("reconciler", "Update", {"f:spec": {"f:b": {}}}),
    ]
    assert take(entries, ("f:spec", "f:a")) == {
        ("policy", "Apply"): {"f:spec": {"f:a": {}}},
        ("reconciler", "Apply"): {"f:spec": {"f:b": {}, "f:a": {}}},
        ("reconciler", "Update"): {"f:spec": {"f:b": {}}},
    }


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ({"f:a": {}}, ("f:a", "f:b"), {"f:a": {".": {}, "f:b": {}}}),
        ({"f:a": {"f:b": {}}}, ("f:a",), {"f:a": {".": {}, "f:b": {}}}),
        ({"f:a": {".": {}, "f:b": {}}}, ("f:a",), {"f:a": {".": {}, "f:b": {}}}),
        ({"f:a": {}}, ("f:a",), {"f:a": {}}),
        ({}, ("f:a", "f:b"), {"f:a": {"f:b": {}}}),
    ],
)
def test_what_was_ours_is_ours_still(before: dict[str, Any], path: OwnedPath, after: dict[str, Any]) -> None:
    """An empty dict is the field itself; once something below it is named, a dot says so."""
    assert take([entry("reconciler", "Apply", before)], path) == {("reconciler", "Apply"): after}


def test_an_object_that_nobody_is_on_record_for_gets_an_entry_of_ours() -> None:
    (made,) = taken((), [("f:metadata", "f:annotations", "f:a")], manager="reconciler", api_version="apps/v1")
    assert made == {
        "manager": "reconciler",
        "operation": "Apply",
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:annotations": {"f:a": {}}}},
    }


steps = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}'])
paths = st.lists(steps, min_size=1, max_size=3).map(tuple)


def tree(members: list[OwnedPath]) -> dict[str, Any]:
    """FieldsV1 of a set of paths, made by another way than the code under test."""
    found: dict[str, Any] = {}
    for step in sorted({path[0] for path in members}):
        below = [path[1:] for path in members if path[0] == step]
        inside = tree([path for path in below if path])
        found[step] = ({".": {}} if inside and () in below else {}) | inside
    return found


def members(fields: dict[str, Any], above: OwnedPath = ()) -> set[OwnedPath]:
    found = set()
    for step, inside in fields.items():
        if step == ".":
            continue
        here = (*above, step)
        if not inside or "." in inside:
            found.add(here)
        found |= members(inside, here)
    return found


@given(st.lists(paths, max_size=6), st.lists(paths, max_size=6), st.lists(paths, max_size=3))
def test_as_sets_of_paths_it_is_a_union_and_a_difference(
    ours: list[OwnedPath], edited: list[OwnedPath], wanted: list[OwnedPath]
) -> None:
    found = take([entry("reconciler", "Apply", tree(ours)), entry("kubectl-edit", "Update", tree(edited))], *wanted)
    assert members(found["reconciler", "Apply"]) == set(ours) | set(wanted)
    left = {path for path in edited if not any(path[: len(taken)] == taken for taken in wanted)}
    # A parent that says nothing any more goes with its last child, unless it was a member itself.
    assert members(found.get(("kubectl-edit", "Update"), {})) == left
