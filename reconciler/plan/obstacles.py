"""What hand edits left beside our fields so that an API server would refuse ours: it has to go, or nothing comes back.

May live here: a table of what excludes what, kind by kind as the API reference says it. Most of what others add beside
our fields is theirs and stays; here stands only what our fields cannot be together with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model.ownership import OwnedPath
from reconciler.model.source import JsonObject
from reconciler.model.units import stored_amount
from reconciler.plan.fieldpaths import WHOLE, identity_of, item_with, keys_of, step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A live field that is not wanted and excludes one that is. `shown` is its path for people."""

    shown: tuple[str, ...]
    fields: OwnedPath
    live: Any


_Found = Iterator[tuple[tuple[str, ...], Any]]
"""(keys from here, value) of what is in the way inside one map."""

_ONE_OF = (
    frozenset({"value", "valueFrom"}),
    frozenset({"minAvailable", "maxUnavailable"}),
    frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"}),
    frozenset({"configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"}),
)
"""Fields of one map of which a server takes one at most."""

_FREE = frozenset({"metadata", "data", "requests", "limits"})
"""Maps whose keys people choose: none of them means what a field of that name means."""


def obstacles(wanted: JsonObject, live: JsonObject) -> tuple[Obstacle, ...]:
    """All obstacles in a live object, in the order of what is wanted."""
    return tuple(_walk(wanted, live, (), ()))


def _walk(wanted: JsonObject, live: Any, shown: tuple[str, ...], fields: OwnedPath) -> Iterator[Obstacle]:
    if not isinstance(live, Mapping):
        return
    for rule in (_others, *_BELOW.get(shown[-1] if shown else "", ())):
        for inside, value in rule(wanted, live):
            steps = tuple(f"f:{key}" for key in inside)
            yield Obstacle(shown=(*shown, *inside), fields=(*fields, *steps), live=value)
    for key, want in wanted.items():
        have = live.get(key)
        path, steps = (*shown, key), (*fields, f"f:{key}")
        if isinstance(want, dict) and key not in WHOLE and key not in _FREE:
            yield from _walk(want, have, path, steps)
        elif isinstance(want, list) and isinstance(have, list) and (keys := keys_of(key, want)):
            yield from _walk_list(want, have, path, steps, keys)


def _walk_list(
    wanted: list[Any], live: list[Any], shown: tuple[str, ...], fields: OwnedPath, keys: tuple[str, ...]
) -> Iterator[Obstacle]:
    identities = [identity_of(item, keys) for item in wanted]
    for item, identity in zip(wanted, identities, strict=True):
        path, steps = (*shown, f"[{item.get(keys[0])}]"), (*fields, step_of(identity))
        have = item_with(live, identity)
        if shown[-1] == "volumes":
            yield from _other_sources(item, have, path, steps)
        yield from _walk(item, have, path, steps)
    if shown[-1] == "ports":
        names = {item.get("name") for item in wanted} - {None}
        for item in live:
            identity = identity_of(item, keys)
            if item.get("name") in names and identity not in identities:
                path = (*shown, f"[{item.get(keys[0])}]")
                yield Obstacle(shown=path, fields=(*fields, step_of(identity)), live=item)


def _other_sources(wanted: JsonObject, live: Any, shown: tuple[str, ...], fields: OwnedPath) -> Iterator[Obstacle]:
    """A volume has one source, and every key but its name is one. Where none is wanted, any will do."""
    for key in sorted(set(live or ()) - {"name"} - wanted.keys()) if wanted.keys() - {"name"} else ():
        yield Obstacle(shown=(*shown, key), fields=(*fields, f"f:{key}"), live=live[key])


def _others(wanted: JsonObject, live: JsonObject) -> _Found:
    for group in _ONE_OF:
        if not group.isdisjoint(wanted):
            yield from (((key,), live[key]) for key in sorted(group - wanted.keys()) if key in live)


def _seccomp(wanted: JsonObject, live: JsonObject) -> _Found:
    """A file of the node goes with the type that names one."""
    if wanted.get("type") != "Localhost" and "localhostProfile" in live:
        yield ("localhostProfile",), live["localhostProfile"]


def _privileges(wanted: JsonObject, live: JsonObject) -> _Found:
    """Who may gain no privileges can have none to begin with."""
    if wanted.get("allowPrivilegeEscalation") is not False:
        return
    if live.get("privileged") and "privileged" not in wanted:
        yield ("privileged",), live["privileged"]
    added = (live.get("capabilities") or {}).get("add") or ()
    if "CAP_SYS_ADMIN" in added and "add" not in (wanted.get("capabilities") or {}):
        yield ("capabilities", "add"), added


def _amounts(wanted: JsonObject, live: JsonObject) -> _Found:
    """No request is above its limit, whoever wrote the two."""
    for ours, theirs, above in (("requests", "limits", True), ("limits", "requests", False)):
        said, there = wanted.get(ours) or {}, live.get(theirs) or {}
        for name in sorted(set(said) & set(there) - set(wanted.get(theirs) or {})):
            try:
                want, have = stored_amount(str(said[name])), stored_amount(str(there[name]))
            except ValueError:
                continue  # whoever can read it may say that it is in the way
            if want > have if above else want < have:
                yield (theirs, name), there[name]


def _internal(wanted: JsonObject, live: JsonObject) -> _Found:
    """A Service that is no load balancer lets in nobody from outside."""
    if wanted.get("type") == "ClusterIP" and "loadBalancerSourceRanges" in live:
        yield ("loadBalancerSourceRanges",), live["loadBalancerSourceRanges"]


_BELOW: Mapping[str, tuple[Callable[[JsonObject, JsonObject], _Found], ...]] = {
    "seccompProfile": (_seccomp,),
    "securityContext": (_privileges,),
    "resources": (_amounts,),
    "spec": (_internal,),
}
"""Rules for the map at a field of that name."""
