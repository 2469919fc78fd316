"""Field ownership: what managedFields says of a live object, and which wanted fields were lost to somebody else.

Source: Kubernetes API reference, FieldsV1 (f: a field, k: a list item by its keys, v: a set item); the behaviour of
server-side apply as measured on 1.36.3: a foreign write of a field of ours takes our ownership away, so a wanted
field that we still own holds our value, however the server writes it. No value needs to be compared for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from reconciler.model.objects import FIELD_MANAGER, HANDOVER_MANAGER
from reconciler.model.plan import Missing
from reconciler.model.source import JsonObject
from reconciler.model.units import Quantity

LIST_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "env": (("name",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "imagePullSecrets": (("name",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "hostAliases": (("ip",),),
    "conditions": (("type",),),
}
"""Lists that merge by keys; the first tuple whose keys an item has counts. Every other list is atomic."""

WHOLE = frozenset({"selector", "labelSelector", "nodeSelector", "scaleTargetRef", "secretKeyRef", "configMapKeyRef"})
"""Maps that are owned and replaced as a whole: one key more is another value."""

_DEFAULTED = {"protocol": "TCP"}
_quantity = lru_cache(maxsize=4096)(Quantity.parse)
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
    """A wanted field that is not as wanted. `owner` is None where nobody owns it (somebody removed it).

    `fields` is the path in managedFields' terms, for `without`. `shared`: we own it together with `owner`, and it is
    not lost; another value is wanted.
    """

    path: str
    fields: tuple[str, ...]
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


def contested(live: JsonObject) -> bool:
    """Whether somebody whom we do not override writes here too: what is left to them is told in every plan."""
    for entry in live.get("metadata", {}).get("managedFields") or ():
        applies = entry.get("operation") == "Apply" and entry.get("manager") not in _OURS
        if applies or entry.get("subresource") == "scale":
            return True
    return False


_OURS = frozenset({FIELD_MANAGER, HANDOVER_MANAGER})


def lost_fields(wanted: JsonObject, live: JsonObject, *, changed: bool = False) -> tuple[Lost, ...]:
    """Wanted fields that we do not own any more and that are not as wanted, by path.

    With `changed` (something else is wanted than what was applied last) also those that we own together with
    somebody else: a new value for them is a conflict with the other.
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
            path = ".".join(shown).replace(".[", "[")
            found.append(Lost(path=path, fields=fields, wanted=want, live=have, owner=owner, shared=held))
    return tuple(found)


def _intact(wanted: JsonObject, live: JsonObject) -> bool:
    """Whether our own apply still holds every field of `wanted`: then nothing of it was lost. May say no too often.

    This is what most objects are asked, most of the time: keys are looked up, no value is compared.
    """
    for entry in live.get("metadata", {}).get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            tree = entry.get("fieldsV1") or {}
            metadata = {key: value for key, value in wanted["metadata"].items() if key not in _IDENTITY}
            rest = {key: value for key, value in wanted.items() if key not in _HEAD}
            return _all_in(rest, tree) and _all_in(metadata, tree.get("f:metadata") or {})
    return False


_IDENTITY = frozenset({"name", "namespace"})
_HEAD = frozenset({"apiVersion", "kind", "metadata"})


def _all_in(wanted: JsonObject, tree: JsonObject) -> bool:
    for key, want in wanted.items():
        below = tree.get("f:" + key)
        if below is None:
            return False
        if not below or not want:
            continue  # a leaf, or owned as a whole
        if isinstance(want, dict):
            if not _all_in(want, below):
                return False
        elif isinstance(want, list) and not _items_in(key, want, below):
            return False
    return True


def _items_in(key: str, items: list[Any], tree: JsonObject) -> bool:
    keys = _keys_of(key, items)
    if keys is None:
        return False
    for item in items:
        below = tree.get(_step(tuple((name, item.get(name, _DEFAULTED.get(name))) for name in sorted(keys))))
        if below is None or not _all_in(item, below):
            return False
    return True


@lru_cache(maxsize=4096)
def _step(identity: tuple[tuple[str, Any], ...]) -> str:
    """The `k:` entry of a list item, as a server writes it."""
    return "k:" + msgspec.json.encode(dict(identity)).decode()


def without(body: JsonObject, paths: Iterable[tuple[str, ...]]) -> JsonObject:
    """A copy of a wanted body that lacks the fields at `paths` (in managedFields' terms): what is left to others."""
    result: dict[str, Any] = copy.deepcopy(dict(body))
    for *steps, last in paths:
        parent: Any = result
        for step in steps:
            parent = _at(parent, step)
        if isinstance(parent, dict):
            parent.pop(last[2:], None)
    return result


def _at(value: Any, step: str) -> Any:
    if step.startswith("f:"):
        return value.get(step[2:]) if isinstance(value, Mapping) else None
    identity = msgspec.json.decode(step[2:])
    return next((item for item in value if _has(item, identity)), None) if isinstance(value, list) else None


_Step = tuple[tuple[str, ...], tuple[str, ...], Any, Any, bool]
_ABSENT = object()


def _walk(
    wanted: Any, live: Any, trees: list[JsonObject], shown: tuple[str, ...], fields: tuple[str, ...]
) -> Iterator[_Step]:
    """Leaves of `wanted` whose live value differs, and whether a tree of ours still holds them.

    `shown` is the path for people, `fields` the same in managedFields' terms.
    """
    for key, want in wanted.items():
        if not shown and key in ("apiVersion", "kind"):
            continue
        if shown == ("metadata",) and key in ("name", "namespace"):
            continue
        have = live.get(key, _ABSENT) if isinstance(live, Mapping) else _ABSENT
        step = f"f:{key}"
        here = [tree[step] for tree in trees if step in tree]
        path, field_path = (*shown, key), (*fields, step)
        if isinstance(want, dict) and want and key not in WHOLE:
            yield from _walk(want, have, here, path, field_path)
        elif isinstance(want, list) and (keys := _keys_of(key, want)):
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
        identity = {key: item.get(key, _DEFAULTED.get(key)) for key in keys}
        have: Any = _ABSENT
        if isinstance(live, list):
            have = next((other for other in live if _has(other, identity)), _ABSENT)
        step = _step(tuple(sorted(identity.items())))
        here = [tree[found] for tree in trees if (found := _item_step(tree, step, identity)) is not None]
        label = f"[{item.get(keys[0])}]"
        yield from _walk(item, have, here, (*shown, label), (*fields, step))


def _item_step(tree: JsonObject, step: str, identity: Mapping[str, Any]) -> str | None:
    """The `k:` entry of a tree for one item, however its keys are written."""
    if step in tree:
        return step
    for entry in tree:
        if entry.startswith("k:") and msgspec.json.decode(entry[2:]) == identity:
            return entry
    return None


def _keys_of(field: str, items: list[Any]) -> tuple[str, ...] | None:
    for keys in LIST_KEYS.get(field, ()):
        if items and all(isinstance(item, dict) and keys[0] in item for item in items):
            return keys
    return None


def _has(item: Any, identity: Mapping[str, Any]) -> bool:
    return isinstance(item, dict) and all(
        item.get(key, _DEFAULTED.get(key)) == value for key, value in identity.items()
    )


def _same(want: Any, have: Any, key: str, parents: tuple[str, ...]) -> bool:
    if want == have or (not want and isinstance(want, dict) and isinstance(have, dict)):
        return True  # of a map that is wanted empty nothing inside is ours
    if have is _ABSENT:
        return _is_zero(want) and key != "replicas" and "annotations" not in parents
    if parents and parents[-1] in _QUANTITY_FIELDS and isinstance(want, str):
        try:
            return _quantity(want) == _quantity(str(have))
        except ValueError:
            return False
    return False


def _is_zero(value: Any) -> bool:
    """Zero values are owned but not stored: absent equals them."""
    return not value and not isinstance(value, float)


def _owner_of(fields: tuple[str, ...], others: list[Owner]) -> Owner | None:
    """Who owns a path (or an ancestor of it as a leaf); the latest entry where several do."""
    found = None
    for owner in others:
        tree: Any = owner.fields
        for step in fields:
            if not isinstance(tree, dict):
                break
            if step in tree:
                tree = tree[step]
                continue
            identity = msgspec.json.decode(step[2:]) if step.startswith("k:") else None
            other = _item_step(tree, step, identity) if identity is not None else None
            if other is None:
                break
            tree = tree[other]
        else:
            found = owner
    return found
