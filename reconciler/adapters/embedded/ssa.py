"""Server-side apply: who owns which field, how configurations merge, what conflicts.

Pure functions over JSON dicts, after structured-merge-diff v6's `Updater.Apply` and `Updater.Update`: an apply merges,
prunes what its manager alone owned and no longer says, and conflicts where it would change what others own; an update
takes what it changes away from everybody else. Defaults come later and belong to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from reconciler.adapters.embedded import fieldset
from reconciler.adapters.embedded.fieldset import Fields, Undeclared
from reconciler.adapters.embedded.schema_tables import Kind, Node, Shape
from reconciler.model.errors import FieldConflict, Rejected
from reconciler.model.identity import ObjectRef

Body = dict[str, Any]
APPLY = "Apply"
UPDATE = "Update"
_LEAF: Fields = {}
_NEVER_OWNED: Fields = {
    "f:apiVersion": _LEAF,
    "f:kind": _LEAF,
    "f:metadata": {
        f"f:{name}": _LEAF
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
            "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
        )
    },
}  # fmt: skip
_STATUS: Fields = {"f:status": _LEAF}
_NEVER_OWNED_OR_STATUS: Fields = {**_NEVER_OWNED, **_STATUS}
_BY_STATUS: Fields = {**_NEVER_OWNED, "f:spec": _LEAF, "f:metadata": _LEAF, "f:data": _LEAF}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of metadata.managedFields. Manager, operation, subresource and version together name its owner."""

    manager: str
    operation: str
    api_version: str
    time: str
    fields: Fields
    subresource: str = ""

    @property
    def owner(self) -> tuple[str, str, str, str]:
        return self.operation, self.manager, self.subresource, self.api_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The merged object, before defaults, and its new entries."""

    body: Body
    entries: list[Entry]


def read_entries(body: Body) -> list[Entry]:
    """The entries of an object."""
    return [
        Entry(
            manager=item.get("manager", ""),
            operation=item.get("operation", ""),
            api_version=item.get("apiVersion", ""),
            time=item.get("time", ""),
            fields=item.get("fieldsV1", {}),
            subresource=item.get("subresource", ""),
        )
        for item in body["metadata"].get("managedFields", ())
    ]


def write_entries(body: Body, entries: list[Entry]) -> None:
    """Put the entries into an object: Apply before Update, then by time and name, empty ones left out."""
    written = []
    for entry in sorted(entries, key=lambda one: (one.operation, one.time, one.manager, one.subresource)):
        if not entry.fields:
            continue
        item = {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": entry.fields,
        }
        if entry.subresource:
            item["subresource"] = entry.subresource
        written.append(item)
    if written:
        body["metadata"]["managedFields"] = written
    else:
        body["metadata"].pop("managedFields", None)


def check_declared(obj: Body, kind: Kind, ref: ObjectRef) -> Fields:
    """The set of what `obj` says. Raises Rejected for an unknown field, a wrong type or a duplicate item."""
    try:
        return fieldset.fields_of(obj, kind.node)
    except Undeclared as problem:
        raise Rejected(
            f"{ref}: failed to create typed patch object ({ref.namespace}/{ref.name}; {kind.api_version}, "
            f"Kind={kind.name}): {problem}",
            ref=ref,
        ) from None


def apply(
    live: Body | None, config: Body, *, kind: Kind, ref: ObjectRef, manager: str, force: bool, now: str
) -> Applied:
    """Merge `config` into `live` for `manager`. Raises FieldConflict, Rejected."""
    if config["metadata"].get("managedFields"):
        raise Rejected(f"{ref}: metadata.managedFields must be nil", ref=ref)
    said = fieldset.without_below(check_declared(config, kind, ref), _NEVER_OWNED_OR_STATUS)
    mine = Entry(manager=manager, operation=APPLY, api_version=kind.api_version, time=now, fields=said)
    config = {key: value for key, value in config.items() if key != "status"}
    if live is None:
        return Applied(body=config, entries=[mine])
    entries = read_entries(live)
    before = next((entry for entry in entries if entry.owner == mine.owner), None)
    others = [entry for entry in entries if entry is not before]
    merged: Body = merge(live, config, kind.node)
    if before is not None:
        if before.fields == said:
            mine = before
        owned = said
        for entry in others:
            owned = fieldset.union(owned, entry.fields)
        merged = _pruned(merged, kind.node, before.fields, owned)
    removed, changed = fieldset.compare(live, merged, kind.node)
    conflicts = [(entry, fieldset.intersection(entry.fields, changed)) for entry in others]
    if not force and any(fields for _, fields in conflicts):
        raise _conflict(ref, [(entry, fields) for entry, fields in conflicts if fields])
    lost = fieldset.union(removed, changed)
    others = [replace(entry, fields=fieldset.difference(entry.fields, lost)) for entry in others] if lost else others
    return Applied(body=merged, entries=[*others, mine])


def _conflict(ref: ObjectRef, conflicts: list[tuple[Entry, Fields]]) -> FieldConflict:
    """Apply managers win the mention where several own a path: they must never be overridden."""
    owners: dict[str, str] = {}
    lines = []
    for entry, fields in sorted(conflicts, key=lambda one: one[0].owner):
        found = fieldset.paths(fields)
        for path in found:
            owners.setdefault(path, entry.manager)
        how = f' with subresource "{entry.subresource}"' if entry.subresource else ""
        lines.append(f'"{entry.manager}"{how} using {entry.api_version}: {", ".join(found)}')
    count = len(owners)
    return FieldConflict(
        f"{ref}: apply failed with {count} conflict{'s' * (count != 1)}: conflicts with {'; '.join(lines)}",
        owners=dict(sorted(owners.items())),
        ref=ref,
    )


def update(
    live: Body | None,
    new: Body,
    entries: list[Entry],
    *,
    kind: Kind,
    manager: str,
    now: str,
    subresource: str = "",
) -> list[Entry]:
    """The entries after `manager` replaced `live` by `new`, defaults included."""
    removed, changed = fieldset.compare(live or {}, new, kind.node)
    strip = _BY_STATUS if subresource == "status" else _NEVER_OWNED_OR_STATUS
    changed = fieldset.without_below(changed, strip)
    lost = fieldset.union(removed, changed)
    mine = Entry(
        manager=manager,
        operation=UPDATE,
        api_version=kind.api_version,
        time=now,
        subresource=subresource,
        fields=changed,
    )
    result = []
    for entry in entries:
        if entry.owner == mine.owner:
            fields = fieldset.union(fieldset.difference(entry.fields, removed), changed)
            mine = entry if fields == entry.fields else replace(mine, fields=fields)
        else:
            result.append(replace(entry, fields=fieldset.difference(entry.fields, lost)) if lost else entry)
    return [*result, mine]


_MERGED = frozenset({Shape.STRUCT, Shape.MAP, Shape.LIST, Shape.SET})


def merge(left: Any, right: Any, node: Node) -> Any:
    """`right` over `left`: maps by key, associative lists by item, all else replaced. Shares what stays.

    Of what merges, null says as little as an empty map or list does.
    """
    shape = node.shape
    if right is None and left and shape in _MERGED:
        return left
    if right is None or left is None:
        return right
    if shape is Shape.STRUCT or shape is Shape.MAP:
        result = dict(left)
        for key, value in right.items():
            inner = node.item if shape is Shape.MAP else node.fields[key]
            result[key] = merge(left[key], value, inner) if key in left and inner is not None else value
        return result
    if (shape is Shape.LIST or shape is Shape.SET) and node.item is not None:
        return _merge_lists(left, right, node, node.item)
    return right


def _merge_lists(left: list[Any], right: list[Any], node: Node, item: Node) -> list[Any]:
    """Keep the order of `right` among its items, and items only in `left` where they stood."""
    ours, theirs = fieldset.elements(left, node, ""), fieldset.elements(right, node, "")
    shared = [element for element in theirs if element in ours]
    left_order, right_order = list(ours), list(theirs)
    result: list[Any] = []
    at_left = at_right = at_shared = 0
    while at_left < len(left_order) or at_right < len(right_order):
        if at_left < len(left_order):
            element = left_order[at_left]
            if element not in theirs:
                result.append(ours[element])
                at_left += 1
                continue
            wanted = shared[at_shared] if at_shared < len(shared) else None
            if element != wanted:
                at_left += 1
                continue
        element = right_order[at_right]
        if element in ours:
            result.append(merge(ours[element], theirs[element], item))
            at_shared += 1
            if at_left < len(left_order) and left_order[at_left] == element:
                at_left += 1
        else:
            result.append(theirs[element])
        at_right += 1
    return result


def _pruned(value: Any, node: Node, had: Fields, owned: Fields) -> Any:
    """`value` without the paths of `had` that nobody owns; with an item or a type goes what lies below it.

    A named field counts as owned as soon as something below it is; an item or a map key only when it is itself.
    """
    shape = node.shape
    if not had or value is None:
        return value
    if shape is Shape.STRUCT or shape is Shape.MAP:
        result = {}
        for key, child in value.items():
            element = f"f:{key}"
            lost, kept = had.get(element), owned.get(element)
            inner = node.item if shape is Shape.MAP else node.fields.get(key)
            if lost is None or inner is None:
                result[key] = child
            elif kept is not None:
                result[key] = _pruned(child, inner, lost, kept)
        return result
    if (shape is Shape.LIST or shape is Shape.SET) and node.item is not None:
        items = []
        for element, item in fieldset.elements(value, node, "").items():
            lost, kept = had.get(element), owned.get(element)
            if lost is None:
                items.append(item)
            elif not fieldset.is_member(lost) or (kept is not None and fieldset.is_member(kept)):
                items.append(_pruned(item, node.item, lost, kept or {}))
        return items
    return value
