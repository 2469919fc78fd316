"""Journal first: what is written before effects start, and what an open entry means after a crash. Pure.

An entry in phase intent says that effects of one change on one agent may or may not have happened. Its step says which
way they were going: forward to the planned state, back to the last good revision, or undoing a creation. Nothing here
does anything: `resolve` decides, the engine acts, and every action may be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from reconciler.model.agent import Remedy
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import LiveObject
from reconciler.model.plan import Action, Change, Verb
from reconciler.model.registry import (
    AgentState,
    Good,
    InventoryEntry,
    JournalEntry,
    JournalPhase,
    Record,
    Reservation,
)
from reconciler.model.source import JsonObject


class Step(StrEnum):
    """The way that the effects of an open entry were going."""

    FORWARD = "forward"
    ROLL_BACK = "roll-back"
    UNDO = "undo"


class Resolution(StrEnum):
    """What is done about an open entry before anything new starts."""

    SUPERSEDE = "supersede"
    """The plan has a change for this agent: its own intent closes this entry in the same transaction."""
    CLOSE = "close"
    """There is nothing left of it: the record says that an outcome was reached, or is gone."""
    ROLL_BACK = "roll-back"
    UNDO = "undo"
    LEAVE = "leave"
    """Unfinished, and this plan does not touch the agent (held, or not a target): it stays on record."""


UNSETTLED = frozenset(
    {AgentState.REGISTERED, AgentState.DEPLOYING, AgentState.TERMINATING, AgentState.RECOVERING},
)
"""States in which an open journal entry may be the only one that knows what was going on."""


def entry_id(change: Change) -> str:
    """Deterministic: the same change of the same agent has the same id, in every process."""
    return f"{change.name}:{change.action}:{change.fingerprint}"


Key = tuple[str, ObjectRef]


def intent(
    change: Change,
    reserved: Iterable[Reservation],
    *,
    commit: str,
    at_ms: int,
    former: Mapping[Key, JsonObject] | None = None,
) -> JournalEntry:
    """The entry to write before the first effect of `change`; it keeps what the way back needs.

    That is what was reserved, and what objects had that are taken over. `former` is what earlier attempts knew of
    those: the first look counts, for later ones see our own hand in them.
    """
    taken = {(item.cluster, item.ref): item.former for item in change.objects if item.former is not None}
    taken |= former or {}
    detail = {
        "step": Step.FORWARD.value,
        "specHash": change.agent.spec_hash if change.agent else "",
        "reservations": _reserved_json(reserved),
        "untouched": list(change.untouched),
        "objects": [
            {
                "cluster": item.cluster,
                "ref": ref_text(item.ref),
                "verb": item.verb.value,
                "hash": item.manifest.hash if item.manifest else "",
            }
            for item in change.objects
        ],
    }
    if taken:
        detail["former"] = [{"cluster": key[0], "body": dict(body)} for key, body in sorted(taken.items(), key=_by_key)]
    return JournalEntry(
        id=entry_id(change),
        agent=change.name,
        action=change.action.value,
        phase=JournalPhase.INTENT,
        commit=commit,
        detail=detail,
        at_ms=at_ms,
    )


def ref_text(ref: ObjectRef) -> str:
    """`group/Kind:namespace/name`, group "" for core, as tracking annotations write it."""
    return f"{ref.group}/{ref.kind}:{ref.namespace}/{ref.name}"


def turned(entry: JournalEntry, step: Step, *, reason: str, at_ms: int) -> JournalEntry:
    """The entry when its effects turn to another way: still open, and says why."""
    detail = {**entry.detail, "step": step.value, "reason": reason}
    return replace(entry, phase=JournalPhase.INTENT, detail=detail, at_ms=at_ms)


def closed(entry: JournalEntry, phase: JournalPhase, *, at_ms: int) -> JournalEntry:
    """The entry with its outcome."""
    return replace(entry, phase=phase, at_ms=at_ms)


def step_of(entry: JournalEntry) -> Step:
    """Which way an entry was going; what an unknown version wrote counts as forward, which decides least."""
    try:
        return Step(entry.detail.get("step", Step.FORWARD))
    except ValueError:
        return Step.FORWARD


def untouched_by(entry: JournalEntry) -> frozenset[str]:
    """Clusters that the change of an entry left alone, and that its way back leaves alone as well."""
    return frozenset(entry.detail.get("untouched", ()))


def resolve(entry: JournalEntry, *, record: Record | None, planned: bool) -> Resolution:
    """What to do about an open entry: `record` is the agent's live record, `planned` whether the plan changes it."""
    if planned:
        return Resolution.SUPERSEDE
    if record is None or record.state not in UNSETTLED:
        return Resolution.CLOSE
    match step_of(entry):
        case Step.ROLL_BACK:
            return Resolution.ROLL_BACK if record.good else Resolution.LEAVE
        case Step.UNDO:
            return Resolution.UNDO
        case Step.FORWARD:
            return Resolution.LEAVE


def intended_inventory(change: Change, record: Record | None) -> tuple[InventoryEntry, ...]:
    """Old union new, written before the first effect: whatever happens, every object that may exist is on record.

    What is about to change loses its hash: until the outcome nobody may take it for what was applied last.
    """
    touched = [(item.cluster, item.ref) for item in change.objects if item.verb is not Verb.DELETE]
    before = unconfirmed(record.inventory if record else (), touched)
    held: dict[Key, InventoryEntry] = {(item.cluster, item.ref): item for item in before}
    for cluster, manifests in change.desired.items():
        for manifest in manifests if cluster not in change.untouched else ():
            held.setdefault((cluster, manifest.ref), InventoryEntry(cluster=cluster, ref=manifest.ref))
    return _sorted(held)


def identified(inventory: Iterable[InventoryEntry], uids: Mapping[Key, str]) -> tuple[InventoryEntry, ...]:
    """The inventory with the uids that are known by now; what was applied is still not confirmed."""
    return tuple(
        replace(item, uid=uids[item.cluster, item.ref]) if (item.cluster, item.ref) in uids else item
        for item in inventory
    )


def exact_inventory(
    before: Iterable[InventoryEntry],
    *,
    applied: Mapping[Key, tuple[LiveObject, str]],
    deleted: Iterable[Key],
    wanted: Iterable[Key],
    untouched: Collection[str] = (),
) -> tuple[InventoryEntry, ...]:
    """What is owned after the effects: `before`, with what was applied (object, manifest hash), without the deleted.

    An entry that was only intended (no uid) and neither applied nor `wanted` never came to be, and goes; on clusters
    that were left `untouched` all stay, for what came to be there is not known.
    """
    gone, kept = set(deleted), set(wanted)
    held = {
        key: item
        for item in before
        if (key := (item.cluster, item.ref)) not in gone
        and (item.uid or key in kept or key in applied or item.cluster in untouched)
    }
    for (cluster, ref), (live, digest) in applied.items():
        held[cluster, ref] = InventoryEntry(
            cluster=cluster, ref=ref, uid=live.uid, resource_version=live.resource_version, hash=digest
        )
    return _sorted(held)


def former_objects(entry: JournalEntry) -> dict[Key, JsonObject]:
    """What objects had that the change of this entry takes over, where it writes something else."""
    return {(str(item["cluster"]), ref_of(item["body"])): item["body"] for item in entry.detail.get("former", ())}


def ref_of(body: JsonObject) -> ObjectRef:
    """The reference of a manifest's body."""
    group, slash, _version = str(body["apiVersion"]).partition("/")
    metadata = body["metadata"]
    return ObjectRef(
        group=group if slash else "",
        kind=body["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
    )


def _by_key(item: tuple[Key, JsonObject]) -> Key:
    return item[0]


def former_reservations(entry: JournalEntry) -> tuple[Reservation, ...]:
    """What was reserved before the change of this entry began."""
    return tuple(
        Reservation(cluster=item["cluster"], replicas=item["replicas"], requests=item["requests"])
        for item in entry.detail.get("reservations", ())
    )


def intended_reservations(wanted: Iterable[Reservation], record: Record | None) -> tuple[Reservation, ...]:
    """What is reserved while both revisions may run: the new, and the old where it is more or elsewhere."""
    held = {item.cluster: item for item in record.reservations} if record else {}
    for item in wanted:
        old = held.get(item.cluster)
        held[item.cluster] = item if old is None else replace(item, replicas=max(item.replicas, old.replicas))
    return tuple(held[cluster] for cluster in sorted(held))


def hand_back(
    record: Record,
    good: Good,
    reserved: Iterable[Reservation],
    *,
    reason: str,
    at_ms: int,
    untouched: Iterable[str] = (),
) -> JournalEntry:
    """The entry to write before an agent goes back by hand: on the way from the start, as after a failed change.

    `reserved` is what is reserved once it is back; `untouched` are clusters that cannot be read.
    """
    detail = {
        "step": Step.ROLL_BACK.value,
        "specHash": good.spec_hash,
        "reason": reason,
        "reservations": _reserved_json(reserved),
        "untouched": sorted(untouched),
        "objects": [],
    }
    return JournalEntry(
        id=f"{record.name}:{Action.UPDATE}:back-{record.version}",
        agent=record.name,
        action=Action.UPDATE.value,
        phase=JournalPhase.INTENT,
        commit=good.commit,
        detail=detail,
        at_ms=at_ms,
    )


def remedied(record: Record, remedy: Remedy, *, because: str, at_ms: int) -> JournalEntry:
    """The entry to write before a remedy touches pods. It is no way forward or back: what is declared stays."""
    detail = {
        "step": Step.FORWARD.value,
        "specHash": record.spec_hash,
        "remedy": remedy.value,
        "reason": because,
        "reservations": _reserved_json(record.reservations),
        "untouched": [],
        "objects": [],
    }
    return JournalEntry(
        id=f"{record.name}:{Action.RECOVER}:{remedy}-{record.version}",
        agent=record.name,
        action=Action.RECOVER.value,
        phase=JournalPhase.INTENT,
        commit=record.commit,
        detail=detail,
        at_ms=at_ms,
    )


def _reserved_json(reserved: Iterable[Reservation]) -> list[JsonObject]:
    return [{"cluster": item.cluster, "replicas": item.replicas, "requests": dict(item.requests)} for item in reserved]


def unconfirmed(inventory: Iterable[InventoryEntry], keys: Iterable[Key]) -> tuple[InventoryEntry, ...]:
    """The inventory with `keys` in it, none of which anybody may take for what was applied last."""
    held: dict[Key, InventoryEntry] = {(item.cluster, item.ref): item for item in inventory}
    for key in keys:
        old = held.get(key, InventoryEntry(cluster=key[0], ref=key[1]))
        held[key] = replace(old, resource_version="", hash="")
    return _sorted(held)


def _sorted(held: Mapping[Key, InventoryEntry]) -> tuple[InventoryEntry, ...]:
    return tuple(held[key] for key in sorted(held))
