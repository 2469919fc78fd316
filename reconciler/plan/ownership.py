"""Field ownership: what managedFields says of a live object, and which wanted fields were lost to somebody else.

Source: Kubernetes API reference, FieldsV1 (f: a field, k: a list item by its keys, v: a set item); the behaviour of
server-side apply as measured on 1.36.3: a foreign write of a field of ours takes our ownership away, so a wanted
field that we still own holds our value, however the server writes it. No value needs to be compared for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model.objects import FIELD_MANAGER, HANDOVER_MANAGER
from reconciler.model.ownership import OwnedPath
from reconciler.model.plan import Missing
from reconciler.model.source import JsonObject
from reconciler.model.units import stored_amount
from reconciler.plan.fieldpaths import WHOLE, identity_in, identity_of, item_with, keys_of, step_of
from reconciler.plan.obstacles import obstacles

_QUANTITY_FIELDS = frozenset({"requests", "limits"})
AUTOSCALERS = frozenset({"kube-controller-manager", "horizontal-pod-autoscaler"})
CONTROLLERS = frozenset({"kube-controller-manager", "horizontal-pod-autoscaler", "kube-scheduler", "kubelet"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One entry of managedFields."""

    manager: str
    operation: str
    subresource: str
    fields: JsonObject

    @property
    def yields(self) -> bool:
        """Whether what it wrote is a hand edit: an Update by somebody who is no controller. Others are left alone."""
        is_controller = self.manager in CONTROLLERS or self.manager.endswith(("-controller", "-controller-manager"))
        return self.operation == "Update" and not is_controller and self.subresource != "status"

    @property
    def is_release(self) -> bool:
        """Whether it is a release of Helm: it wrote Helm's mark. Where the object is ours, it was taken from there."""
        annotations = (self.fields.get("f:metadata") or {}).get("f:annotations") or {}
        return self.operation == "Apply" and "f:meta.helm.sh/release-name" in annotations

    @property
    def autoscales(self) -> bool:
        """Whether what it wrote is the count of a HorizontalPodAutoscaler."""
        return self.manager in AUTOSCALERS and self.subresource == "scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A field that is not as wanted. `owner` is None where nobody owns it (somebody removed it).

    `wanted` is Missing.FIELD for one that should not be there: it excludes a wanted one, or somebody applied it in our
    name. `fields` is the path in managedFields' terms. `shared`: we own it together with `owner`, and it is not lost;
    another value is wanted.
    """

    path: str
    fields: OwnedPath
    wanted: Any
    live: Any
    owner: Owner | None
    shared: bool = False


def owners(body: JsonObject) -> tuple[Owner, ...]:
    """The entries of an object's managedFields, in order."""
    entries = body.get("metadata", {}).get("managedFields") or ()
    return tuple(
        Owner(
            manager=str(entry.get("manager", "")),
            operation=str(entry.get("operation", "")),
            subresource=str(entry.get("subresource", "")),
            fields=entry.get("fieldsV1") or {},
        )
        for entry in entries
    )


def is_ours(owner: Owner) -> bool:
    """Whether an entry is our own apply."""
    return owner.manager in _OURS and owner.operation == "Apply"


def recorded(live: JsonObject) -> bool:
    """Whether an object says at all that we applied it: somebody may have cleared its managedFields."""
    entries = live.get("metadata", {}).get("managedFields") or ()
    return any(entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" for entry in entries)


def contested(live: JsonObject) -> bool:
    """Whether somebody whom we do not override writes here too: what is left to them is told in every plan."""
    for entry in live.get("metadata", {}).get("managedFields") or ():
        applies = entry.get("operation") == "Apply" and entry.get("manager") not in _OURS
        if applies or entry.get("subresource") == "scale":
            return True
    return False


_OURS = frozenset({FIELD_MANAGER, HANDOVER_MANAGER})
_SELF = "."


def lost_fields(wanted: JsonObject, live: JsonObject, *, changed: bool = False) -> tuple[Lost, ...]:
    """Wanted fields that we do not own any more and that are not as wanted, and what stands in their way.

    With `changed` (something else is wanted than what was applied last) also those that we own together with
    somebody else: a new value for them is a conflict with the other. Without it also fields that are ours and that we
    never wanted.
    """
    if not changed and _intact(wanted, live):
        return ()
    known = owners(live)
    ours: list[JsonObject] = [owner.fields for owner in known if is_ours(owner)]
    others = [owner for owner in known if not is_ours(owner)]
    found = []
    for shown, fields, want, have, held in _walk(wanted, live, ours, (), ()):
        if held and not changed:
            continue
        owner = _owner_of(fields, others)
        if owner is not None or not held:
            found.append(_lost(shown, fields, want, have, owner, shared=held))
    for item in obstacles(wanted, live):
        owner, held = _owner_of(item.fields, others), any(_has(tree, item.fields) for tree in ours)
        if owner is not None or not held:
            found.append(_lost(item.shown, item.fields, Missing.FIELD, item.live, owner, shared=held))
    if not changed:
        mine = next((owner for owner in known if is_ours(owner) and owner.manager == FIELD_MANAGER), None)
        found += [_lost(*item, mine) for item in surplus_fields(wanted, live)]
    return tuple(found)


def _lost(
    shown: tuple[str, ...], fields: OwnedPath, wanted: Any, live: Any, owner: Owner | None, *, shared: bool = False
) -> Lost:
    path = ".".join(shown).replace(".[", "[")
    return Lost(path=path, fields=fields, wanted=wanted, live=live, owner=owner, shared=shared)


def _has(tree: JsonObject, path: OwnedPath) -> bool:
    for step in path:
        if step not in tree:
            return False
        tree = tree[step]
    return True


_Surplus = tuple[tuple[str, ...], OwnedPath, Missing, Any]


def surplus_fields(wanted: JsonObject, live: JsonObject) -> tuple[_Surplus, ...]:
    """Fields that our own apply says and that we do not want (any more): shown, path, nothing, and what is there."""
    for owner in owners(live):
        if is_ours(owner) and owner.manager == FIELD_MANAGER:
            return tuple(_surplus(wanted, owner.fields, live, (), ()))
    return ()


def _surplus(wanted: Any, tree: JsonObject, live: Any, shown: tuple[str, ...], fields: OwnedPath) -> Iterator[_Surplus]:
    for step, below in tree.items():
        if step.startswith("f:"):
            key = step[2:]
            said = isinstance(wanted, Mapping) and key in wanted
            want = wanted[key] if said else None
            have = live.get(key) if isinstance(live, Mapping) else None
            label = key
        elif step.startswith("k:"):
            want, have = item_with(wanted, identity_in(step)), item_with(live, identity_in(step))
            said = want is not None
            label = f"[{next(iter(identity_in(step)))[1]}]"
        else:
            continue
        if not said:
            yield (*shown, label), (*fields, step), Missing.FIELD, have
        elif below:
            yield from _surplus(want, below, have, (*shown, label), (*fields, step))


def shared_surplus(wanted: JsonObject, live: JsonObject) -> tuple[OwnedPath, ...]:
    """Fields that we no longer want and own together with hand edits alone: with them in it, they would stay."""
    others = [owner for owner in owners(live) if not is_ours(owner)]
    found = []
    for _shown, fields, _wanted, _live in surplus_fields(wanted, live):
        holders = [owner for owner in others if _has(owner.fields, fields)]
        if holders and all(owner.yields for owner in holders):
            found.append(fields)
    return tuple(found)


def _intact(wanted: JsonObject, live: JsonObject) -> bool:
    """Whether our own apply still holds every field of `wanted`: then nothing of it was lost. May say no too often.

    This is what most objects are asked, most of the time: keys are looked up, no value is compared.
    """
    for entry in live.get("metadata", {}).get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            said = {key: value for key, value in wanted.items() if key not in _NOBODYS}
            said["metadata"] = {key: value for key, value in wanted["metadata"].items() if key not in _SERVERS}
            return _all_in(said, entry.get("fieldsV1") or {})
    return False


_NOBODYS = frozenset({"apiVersion", "kind", "status"})
_SERVERS = frozenset(
    {"name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "resourceVersion", "managedFields"}
)
"""Fields of metadata that stand in nobody's managedFields, though a manifest may say them: nothing of it is kept."""


def _all_in(wanted: JsonObject, tree: JsonObject) -> bool:
    """Whether a tree holds all that is wanted, and nothing else."""
    if len(wanted) != len(tree) - (_SELF in tree):
        return False
    for key, want in wanted.items():
        below = tree.get("f:" + key)
        if below is None or (want == "" and key == "value"):
            return False  # beside an empty value another source of it may stand, and we would own ours still
        if not below or not want:
            continue  # a leaf, or owned as a whole
        if isinstance(want, dict):
            if not _all_in(want, below):
                return False
        elif isinstance(want, list) and not _items_in(key, want, below):
            return False
    return True


def _items_in(key: str, items: list[Any], tree: JsonObject) -> bool:
    keys = keys_of(key, items)
    if keys is None or len(items) != len(tree) - (_SELF in tree):
        return False
    for item in items:
        below = tree.get(step_of(identity_of(item, keys)))
        if below is None or not _all_in(item, below):
            return False
    return True


def without(body: JsonObject, paths: Iterable[tuple[str, ...]]) -> JsonObject:
    """A copy of a wanted body that lacks the fields at `paths` (in managedFields' terms): what is left to others."""
    result: dict[str, Any] = copy.deepcopy(dict(body))
    above: Any = None
    for *steps, last in paths:
        parent: Any = result
        for step in steps:
            above, parent = parent, _at(parent, step)
        if isinstance(parent, dict):
            parent.pop(last[2:], None)
            if steps[-1:] and steps[-1].startswith("k:") and last[2:] in dict(identity_in(steps[-1])):
                above.remove(parent)  # an item without its key is none
    return result


def _at(value: Any, step: str) -> Any:
    if step.startswith("f:"):
        return value.get(step[2:]) if isinstance(value, Mapping) else None
    return item_with(value, identity_in(step))


_Step = tuple[tuple[str, ...], OwnedPath, Any, Any, bool]
_ABSENT = object()


def _walk(
    wanted: Any, live: Any, trees: list[JsonObject], shown: tuple[str, ...], fields: tuple[str, ...]
) -> Iterator[_Step]:
    """Leaves of `wanted` whose live value differs, and whether a tree of ours still holds them.

    `shown` is the path for people, `fields` the same in managedFields' terms.
    """
    for key, want in wanted.items():
        if (not shown and key in _NOBODYS) or (shown == ("metadata",) and key in _SERVERS):
            continue
        have = live.get(key, _ABSENT) if isinstance(live, Mapping) else _ABSENT
        step = f"f:{key}"
        here = [tree[step] for tree in trees if step in tree]
        path, field_path = (*shown, key), (*fields, step)
        if isinstance(want, dict) and want and key not in WHOLE:
            yield from _walk(want, have, here, path, field_path)
        elif isinstance(want, list) and (keys := keys_of(key, want)):
            yield from _walk_list(want, have, here, path, field_path, keys)
        elif not _same(want, have, key, shown):
            yield path, field_path, want, Missing.FIELD if have is _ABSENT else have, bool(here)


def _walk_list(
    wanted: list[Any],
    live: Any,
    trees: list[JsonObject],
    shown: tuple[str, ...],
    fields: tuple[str, ...],
    keys: tuple[str, ...],
) -> Iterator[_Step]:
    for item in wanted:
        identity = identity_of(item, keys)
        have = item_with(live, identity)
        step = step_of(identity)
        here = [tree[found] for tree in trees if (found := _item_step(tree, step)) is not None]
        label = f"[{item.get(keys[0])}]"
        yield from _walk(item, have, here, (*shown, label), (*fields, step))


def _item_step(tree: JsonObject, step: str) -> str | None:
    """The `k:` entry of a tree for one item, however its keys are written."""
    if step in tree:
        return step
    identity = identity_in(step)
    return next((entry for entry in tree if entry.startswith("k:") and identity_in(entry) == identity), None)


def _same(want: Any, have: Any, key: str, parents: tuple[str, ...]) -> bool:
    if want == have or (not want and isinstance(want, dict) and isinstance(have, dict)):
        return True  # of a map that is wanted empty nothing inside is ours
    if have is _ABSENT:
        return _is_zero(want) and key != "replicas" and "annotations" not in parents
    if parents and parents[-1] in _QUANTITY_FIELDS and isinstance(want, str):
        try:
            return stored_amount(want) == stored_amount(str(have))
        except ValueError:
            return False
    return False


def _is_zero(value: Any) -> bool:
    """Zero values are owned but not stored: absent equals them."""
    return not value and not isinstance(value, float)


def _owner_of(fields: tuple[str, ...], others: list[Owner]) -> Owner | None:
    """Who owns a path; the latest entry where several do."""
    found = None
    for owner in others:
        tree: Any = owner.fields
        for step in fields:
            if not isinstance(tree, dict):
                break
            if step in tree:
                tree = tree[step]
                continue
            other = _item_step(tree, step) if step.startswith("k:") else None
            if other is None:
                break
            tree = tree[other]
        else:
            found = owner
    return found
