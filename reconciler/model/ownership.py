"""Ownership of fields as metadata.managedFields tells it, and how one manager takes fields over from hand edits.

May live here: FieldsV1 as values, pure functions on them. Sets of fields are never changed in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.model.source import JsonObject

OwnedPath = tuple[str, ...]
"""A field in managedFields' terms: `("f:spec", 'k:{"name":"agent"}', "f:image")`."""
_SELF = "."
_MEMBER: JsonObject = {".": {}}


def taken(
    entries: Sequence[JsonObject], paths: Iterable[OwnedPath], *, manager: str, api_version: str
) -> list[JsonObject]:
    """The entries after `manager` took `paths`, and all below them, over into its Apply entry from hand edits.

    Hand edits are entries with the operation Update. What other managers applied stays theirs: they own it beside
    `manager` then. An apply that does not say these fields removes what nobody else owns.
    """
    wanted = tuple(paths)
    found: list[JsonObject] = []
    mine: JsonObject = {}
    for entry in entries:
        if entry.get("operation") != "Update":
            if entry.get("manager") == manager and not entry.get("subresource"):
                mine = entry
            else:
                found.append(entry)
            continue
        fields = entry.get("fieldsV1") or {}
        for path in wanted:
            fields = _without(fields, path)
        if fields:
            found.append({**entry, "fieldsV1": fields})
    own = mine.get("fieldsV1") or {}
    for path in wanted:
        own = _with(own, path)
    head = {"manager": manager, "operation": "Apply", "apiVersion": api_version, "fieldsType": "FieldsV1"}
    return [{**head, **mine, "fieldsV1": own}, *found]


def _without(fields: Mapping[str, Any], path: OwnedPath) -> JsonObject:
    """`fields` without `path` and what lies below it; parents that say nothing any more go too."""
    step, *rest = path
    below = fields.get(step)
    if below is None:
        return fields
    left = _without(below, tuple(rest)) if rest else {}
    if left is below:
        return fields
    return {key: left if key == step else value for key, value in fields.items() if key != step or left}


def _with(fields: Mapping[str, Any], path: OwnedPath) -> JsonObject:
    """`fields` with `path` as a member."""
    if not path:
        return fields if not fields or _SELF in fields else {**_MEMBER, **fields}
    step, *rest = path
    below = fields.get(step)
    if below is None:
        return {**fields, step: _with({}, tuple(rest))}
    inside = _with(below, tuple(rest)) if below or not rest else {**_MEMBER, **_with({}, tuple(rest))}
    return {**fields, step: inside}
