"""The decision for one object: compare what is wanted with what is there, and say what is done about what differs.

May live here: creation, application, replacement, drift and its fate. Must not: know agents' specs, other objects or
guards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.model.identity import ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    TRACKING_ANNOTATION,
    LiveObject,
    Manifest,
    MustBe,
    MustBeAbsent,
)
from reconciler.model.ownership import OwnedPath
from reconciler.model.plan import Drift, Missing, ObjectChange, ReasonCode, Verb
from reconciler.model.registry import InventoryEntry
from reconciler.model.source import JsonObject
from reconciler.plan import scaling
from reconciler.plan.adoption import former
from reconciler.plan.foreign import UNMARKED, foreign_owner, is_known
from reconciler.plan.ownership import (
    Lost,
    contested,
    is_ours,
    lost_fields,
    owners,
    recorded,
    shared_surplus,
    surplus_fields,
    without,
)

_IMMUTABLE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"),),
    "Service": (("spec", "clusterIP"),),
    "PodDisruptionBudget": (("spec", "selector"),),
}
"""Fields that an API server refuses to change, of the kinds that we render."""
_MARK: OwnedPath = ("f:metadata", "f:annotations", f"f:{TRACKING_ANNOTATION}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVerdict:
    """The decision for one object: `change` None is nothing to do. `foreign` says which object
    belongs to somebody else.
    """

    change: ObjectChange | None = None
    code: ReasonCode | None = None
    drift: tuple[Drift, ...] = ()
    foreign: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for all objects of one agent on one cluster.

    `retakes` says that an autoscaler of ours goes: replicas that it wrote are taken back from it. `minimum` is that
    of an autoscaler that is wanted, 0 where there is none; `autoscaled` that some autoscaler is there, ours or not.
    """

    fleet: str
    adopt: bool = False
    retakes: bool = False
    minimum: int = 0
    autoscaled: Callable[[], bool] = lambda: True


def judge(
    cluster: str, manifest: Manifest, live: LiveObject | None, entry: InventoryEntry | None, terms: Terms
) -> ObjectVerdict:
    """What one wanted object needs."""
    ref = manifest.ref
    if live is None:
        change = ObjectChange(
            cluster=cluster,
            ref=ref,
            verb=Verb.CREATE,
            expect=MustBeAbsent(),
            manifest=manifest,
            hand_over_replicas=scaling.handed_over(manifest, None, terms.minimum),
        )
        return ObjectVerdict(change=change, code=ReasonCode.OBJECT_MISSING if entry else ReasonCode.NEW)
    known = entry is not None and is_known(live, entry.uid, terms.fleet)
    same = known and entry is not None and entry.hash == manifest.hash
    if same and entry and entry.resource_version == live.resource_version and not contested(live.body):
        return ObjectVerdict()
    owner = foreign_owner(live, terms.fleet)
    if owner and not terms.adopt and not (known and owner == UNMARKED):
        return ObjectVerdict(foreign=f"{ref} on {cluster} belongs to {owner}")
    found = _Found.of(cluster, manifest, live, terms, changed=not same, taking=bool(owner) and terms.adopt)
    return _as_before(found) if same else _as_changed(found, entry)


def over(cluster: str, manifest: Manifest, live: LiveObject, *, fleet: str, retakes: bool) -> ObjectChange:
    """How a manifest is applied over an object of ours, whatever has become of it: as `judge` would have it done.

    So hand edits are undone, and what other tools and controllers hold is left to them.
    """
    terms = Terms(fleet=fleet, retakes=retakes)
    found = _Found.of(cluster, manifest, live, terms, changed=True, taking=False)
    return _apply(found, shared_surplus(manifest.body, live.body))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One object that is there, the fields of it that are not as wanted, and the fate of each, in the same order."""

    cluster: str
    manifest: Manifest
    live: LiveObject
    terms: Terms
    taking: bool
    lost: tuple[Lost, ...]
    drift: tuple[Drift, ...]

    @classmethod
    def of(
        cls, cluster: str, manifest: Manifest, live: LiveObject, terms: Terms, *, changed: bool, taking: bool
    ) -> _Found:
        lost = lost_fields(manifest.body, live.body, changed=changed)
        if terms.retakes:
            lost = tuple(item for item in lost if item.fields != scaling.REPLICAS)  # the autoscaler's, and ours again
        lost += scaling.stopped(manifest, live, terms.minimum)
        goes = [(taking and not _scales(item, terms)) or _goes(item, terms) for item in lost]
        drift = _drifts(cluster, manifest.ref, lost, goes)
        return cls(cluster=cluster, manifest=manifest, live=live, terms=terms, taking=taking, lost=lost, drift=drift)

    def of_fate(self, *, undone: bool) -> list[Lost]:
        return [item for item, seen in zip(self.lost, self.drift, strict=True) if seen.undone is undone]


def _as_before(found: _Found) -> ObjectVerdict:
    """The same is wanted as was applied last: what differs is somebody else's doing."""
    drift = found.drift
    if not recorded(found.live.body):
        drift += (_forgotten(found.cluster, found.manifest.ref),)
    if not any(item.undone for item in drift):
        return ObjectVerdict(drift=drift)
    return ObjectVerdict(change=_apply(found, ()), code=ReasonCode.DRIFT, drift=drift)


def _as_changed(found: _Found, entry: InventoryEntry | None) -> ObjectVerdict:
    """Something else is wanted than was applied last, or it is not known that it was."""
    told = [seen for item, seen in zip(found.lost, found.drift, strict=True) if not (item.shared and seen.undone)]
    drift = tuple(item for item in told if item.manager and not (found.taking and item.undone))
    if replaces(found.manifest.body, found.live.body):
        code = ReasonCode.FOREIGN_OBJECT if found.taking else ReasonCode.IMMUTABLE_FIELD
        return ObjectVerdict(change=_replace(found), code=code, drift=drift)
    change = _apply(found, shared_surplus(found.manifest.body, found.live.body))
    return ObjectVerdict(change=change, code=_code(found, entry), drift=drift)


def _code(found: _Found, entry: InventoryEntry | None) -> ReasonCode | None:
    """Why an object that is there is applied, other than for what Git says; None for no other reason."""
    if found.taking:
        return ReasonCode.FOREIGN_OBJECT
    if entry is not None and entry.uid not in ("", found.live.uid):
        return ReasonCode.DRIFT  # somebody deleted ours and made a copy of it, our mark included
    return None if entry is not None and entry.hash else ReasonCode.UNFINISHED


def _apply(found: _Found, surplus: Sequence[OwnedPath]) -> ObjectChange:
    """An apply. Its manifest lacks what is left to other managers; its hash is that of the whole, all the same.

    Where nobody is on record as the owner of anything, we are first, with our mark: an API server would invent an
    owner of every field otherwise (`before-first-apply`), and refuse us ours.
    """
    manifest, live, terms = found.manifest, found.live, found.terms
    hand_over = scaling.handed_over(manifest, live, terms.minimum)
    undone, left = found.of_fate(undone=True), [item.fields for item in found.of_fate(undone=False)]
    managers = {item.manager for item in found.drift if item.undone}
    take = {item.fields for item in undone if item.wanted is Missing.FIELD and not _is_own(item)}
    take |= {path for path in surplus if path != scaling.REPLICAS}
    return ObjectChange(
        cluster=found.cluster,
        ref=manifest.ref,
        verb=Verb.APPLY,
        expect=MustBe(uid=live.uid),
        manifest=dataclasses.replace(manifest, body=without(manifest.body, left)) if left else manifest,
        force=tuple(sorted(managers - {"", FIELD_MANAGER})),
        take=tuple(sorted(take if owners(live.body) else {*take, _MARK})),
        hand_over_replicas=hand_over,
        take_back=scaling.taken_back(manifest, live, retakes=terms.retakes),
        former=former(manifest.body, live, undone) if found.taking else None,
    )


def _replace(found: _Found) -> ObjectChange:
    live = found.live
    return ObjectChange(
        cluster=found.cluster,
        ref=found.manifest.ref,
        verb=Verb.REPLACE,
        expect=MustBe(uid=live.uid, resource_version=live.resource_version),
        manifest=found.manifest,
        hand_over_replicas=scaling.carried_over(found.manifest, live, found.terms.minimum),
    )


def _is_own(lost: Lost) -> bool:
    """Whether a field that should not be there is ours to drop."""
    return lost.owner is not None and is_ours(lost.owner)


def _goes(lost: Lost, terms: Terms) -> bool:
    """Whether what somebody wrote is undone: hand edits are, and what an autoscaler wrote that is there no more."""
    owner = lost.owner
    if owner is None or owner.yields or owner.is_release or is_ours(owner):
        return True
    return lost.fields == scaling.REPLICAS and owner.autoscales and not terms.autoscaled()


def _scales(lost: Lost, terms: Terms) -> bool:
    """Whether a count is that of an autoscaler which is there: an adoption of the Deployment is none of it."""
    return lost.fields == scaling.REPLICAS and lost.owner is not None and lost.owner.autoscales and terms.autoscaled()


def _drifts(cluster: str, ref: ObjectRef, lost: Sequence[Lost], goes: Sequence[bool]) -> tuple[Drift, ...]:
    """What is told of each lost field. What an obstacle that stays keeps out is left with it, to whom that is."""
    closed = {
        item.fields[:-1]: item.owner.manager
        for item, undone in zip(lost, goes, strict=True)
        if item.wanted is Missing.FIELD and item.owner is not None and not undone
    }
    found = []
    for item, undone in zip(lost, goes, strict=True):
        keeper = next((name for above, name in closed.items() if item.fields[: len(above)] == above), "")
        drift = Drift(
            cluster=cluster,
            ref=ref,
            path=item.path,
            manager=keeper or (item.owner.manager if item.owner else ""),
            before=item.wanted,
            after=item.live,
            undone=undone and not keeper,
        )
        found.append(drift)
    return tuple(found)


def _forgotten(cluster: str, ref: ObjectRef) -> Drift:
    """That we applied an object is written nowhere in it any more."""
    return Drift(
        cluster=cluster,
        ref=ref,
        path="metadata.managedFields",
        manager="",
        before=FIELD_MANAGER,
        after=Missing.FIELD,
    )


def replaces(wanted: JsonObject, live: JsonObject) -> bool:
    """Whether `live` has to be deleted for `wanted` to come: it has another value in a field that never changes."""
    if live.get("immutable") and wanted.get("kind") == "ConfigMap":
        return _data_changes(wanted, live)
    for path in _IMMUTABLE.get(str(wanted.get("kind")), ()):
        want: Any = wanted
        have: Any = live
        for part in path:
            want = want.get(part) if isinstance(want, Mapping) else None
            have = have.get(part) if isinstance(have, Mapping) else None
        if want is not None and want != have:
            return True
    return False


def _data_changes(wanted: JsonObject, live: JsonObject) -> bool:
    """Whether an apply would change a ConfigMap's data, which somebody has sealed."""
    there = live.get("data") or {}
    differs = any(there.get(key) != value for key, value in (wanted.get("data") or {}).items())
    return differs or any(path[0] == "f:data" for _, path, _, _ in surplus_fields(wanted, live))
