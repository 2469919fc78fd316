"""How fields of Kubernetes objects are told apart: items of lists by their keys, maps that count as one value.

May live here: the tables of the kinds that we render, and the steps of managedFields' paths that follow from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

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

WHOLE = frozenset(
    {
        *("selector", "labelSelector", "nodeSelector", "scaleTargetRef", "secretRef", "nodePublishSecretRef"),
        *("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"),
    }
)
"""Maps that are owned and replaced as a whole: one key more is another value."""

_DEFAULTED = {"protocol": "TCP"}
Identity = tuple[tuple[str, Any], ...]
"""An item's keys and their values, sorted."""


def keys_of(field: str, items: list[Any]) -> tuple[str, ...] | None:
    """The keys of a list's items; None for a list that is one value."""
    for keys in LIST_KEYS.get(field, ()):
        if items and all(isinstance(item, dict) and keys[0] in item for item in items):
            return keys
    return None


def identity_of(item: Any, keys: tuple[str, ...]) -> Identity:
    """What tells an item from others of its list."""
    return tuple((key, item.get(key, _DEFAULTED.get(key))) for key in sorted(keys))


@lru_cache(maxsize=4096)
def step_of(identity: Identity) -> str:
    """The `k:` entry of a list item, as a server writes it."""
    return "k:" + msgspec.json.encode(dict(identity)).decode()


def identity_in(step: str) -> Identity:
    """What a `k:` entry says."""
    return tuple(sorted(msgspec.json.decode(step[2:]).items()))


def item_with(items: Any, identity: Identity) -> Any:
    """The item of a list; None when it is not there."""
    if not isinstance(items, list):
        return None
    return next((item for item in items if _is(item, identity)), None)


def _is(item: Any, identity: Identity) -> bool:
    return isinstance(item, dict) and all(item.get(key, _DEFAULTED.get(key)) == value for key, value in identity)
