"""What a write must satisfy against what is held: the same rules for every registry.

May hold pure functions over the values of model.registry only. A registry reads what it holds, asks here inside its
transaction, and rolls back when one of these raises.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.registry import TRANSITIONS, AgentState, ClusterHealth, Fence, FleetRecord, Lease, Record, Write

_AGAIN = "read it again and decide again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a registry holds of one agent: enough to judge the next write of it. Also of one that is gone."""

    version: int
    state: AgentState
    id: str


def check_shape(write: Write) -> None:
    """Raises RegistryError for a write without an operation id, or with a record twice."""
    if not write.op_id:
        raise RegistryError("a write needs an operation id", hint="give Write.op_id a value of its own")
    names = [record.name for record in write.records]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RegistryError(f"{twice} stands twice in one write")


def repeated(write: Write, *, seq: int, same: bool) -> int:
    """The answer to a write whose operation id is known. Raises RegistryError when its content is not the `same`."""
    if not same:
        raise RegistryError(
            f"operation {write.op_id} was written before with other content",
            hint="every write needs an operation id of its own; only a repetition keeps it",
        )
    return seq


def fences_of(write: Write) -> tuple[Fence, ...]:
    """All leases that a write depends on."""
    return (*((Fence(lease=write.lease, epoch=write.epoch),) if write.lease else ()), *write.fences)


def check_epoch(fence: Fence, *, epoch: int, holder: str) -> None:
    """Fencing: raises RegistryConflict when a lease that a write depends on has moved on to a later epoch."""
    if fence.epoch < epoch:
        raise RegistryConflict(
            f"lease {fence.lease} has moved on: this write has epoch {fence.epoch}, the lease has {epoch}"
            + (f", held by {holder}" if holder else ""),
            hint="another process took over while this one was away; start again",
        )


def check_record(record: Record, held: Held | None) -> None:
    """Version, state and id against what is held. A record that is gone counts as none: the next is a new one.

    Raises RegistryConflict for another version, RegistryError for a state or id that cannot follow.
    """
    gone = held is None or held.state is AgentState.GONE
    version = 0 if held is None or gone else held.version
    if record.version != version + 1:
        was = f"version {version} is held" if version else "no record is held"
        raise RegistryConflict(
            f"{record.name} changed: {was}, and this write has version {record.version}", hint=_AGAIN
        )
    before = AgentState.GONE if held is None else held.state
    if record.state is not before and record.state not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before]))
        raise RegistryError(
            f"{record.name} cannot go from {before} to {record.state}", hint=f"from {before} it may go to {allowed}"
        )
    if gone and record.state is AgentState.GONE:
        raise RegistryError(f"{record.name} is gone already, and cannot be written as gone again")
    if held is not None and gone == (record.id == held.id):
        what = f"is gone: a new record needs a new id, not {held.id}" if gone else f"has id {held.id}, not {record.id}"
        raise RegistryError(f"{record.name} {what}")


def check_fleet(fleet: FleetRecord, *, held: int) -> None:
    """Raises RegistryConflict when the fleet's version does not follow the one that is held (0: none)."""
    _check_version(f"fleet {fleet.name}", fleet.version, held)


def check_cluster(health: ClusterHealth, *, held: int) -> None:
    """Raises RegistryConflict when a cluster's version does not follow the one that is held (0: none)."""
    _check_version(f"cluster {health.cluster}", health.version, held)


def _check_version(what: str, version: int, held: int) -> None:
    if version != held + 1:
        raise RegistryConflict(
            f"{what} changed: version {held} is held, and this write has version {version}", hint=_AGAIN
        )


def taken(held: Lease, *, holder: str, ttl_ms: int, now_ms: int, says: str) -> Lease:
    """The lease after `holder` took or renewed it; `held` has no holder and epoch 0 where it never was.

    Raises RegistryError without a holder or a time to live, RegistryConflict while somebody else holds it.
    """
    if not holder or ttl_ms <= 0:
        raise RegistryError(f"lease {held.name} needs a holder and a time to live")
    if held.holder not in ("", holder) and held.expires_ms > now_ms:
        raise RegistryConflict(
            f"lease {held.name} is held by {held.holder} for another {(held.expires_ms - now_ms + 999) // 1000} s",
            hint="wait for it to finish; a holder that is gone loses it by itself after that time",
        )
    epoch = held.epoch + (held.holder != holder)
    return Lease(name=held.name, holder=holder, epoch=epoch, expires_ms=now_ms + ttl_ms, says=says)
