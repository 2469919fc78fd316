"""What people do by hand, as writes of records that the next plan reads: suspend, resume, scale for a while.

None of it touches a cluster: a record says what is wished, and plan and apply bring it about, as they do for Git.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.engine.run import repeat_commit
from reconciler.engine.world import Retry
from reconciler.model.errors import RegistryConflict, RegistryError, UsageError
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Unreadable
from reconciler.model.registry import AuditFact, Record, ScaleOverride, Write
from reconciler.ports import Clock, Registry

CONFLICTS = 5
MAX_REPLICAS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Who writes, where, and how calls are tried again."""

    registry: Registry
    clock: Clock
    actor: str
    retry: Retry


async def suspend(hand: Hand, name: AgentName, *, reason: str = "") -> Record:
    """Let an agent run nowhere until it is resumed. Raises UsageError when there is no such agent, RegistryError."""
    return await _write(hand, name, "suspend", reason, lambda record: replace(record, suspended=True))


async def resume(hand: Hand, name: AgentName, *, reason: str = "") -> Record:
    """End a suspension by hand, and lift a quarantine: the spec is tried again."""
    return await _write(hand, name, "resume", reason, lambda record: replace(record, suspended=False, quarantine=None))


async def scale(hand: Hand, name: AgentName, replicas: int, *, for_ms: int = 0, reason: str = "") -> Record:
    """Run `replicas` for `for_ms` milliseconds, 0 until it is lifted; Git takes over again when it ends.

    Raises UsageError for an agent that an autoscaler scales, or a number that cannot be meant.
    """
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UsageError(f"{replicas} replicas cannot be meant", hint=f"give a number from 0 to {MAX_REPLICAS}")

    def build(record: Record) -> Record:
        if record.document.get("autoscaling"):
            hint = "change its `autoscaling` in Git"
            raise UsageError(f"{name} is scaled by an autoscaler, which would undo it", hint=hint)
        now = hand.clock.now_ms()
        wish = ScaleOverride(
            replicas=replicas,
            author=hand.actor,
            reason=reason,
            since_ms=now,
            until_ms=now + for_ms if for_ms else 0,
        )
        return replace(record, override=wish)

    return await _write(hand, name, "scale", reason or f"to {replicas}", build)


async def unscale(hand: Hand, name: AgentName, *, reason: str = "") -> Record:
    """Lift a scaling by hand before its end."""
    return await _write(hand, name, "unscale", reason, lambda record: replace(record, override=None))


async def _write(hand: Hand, name: AgentName, action: str, reason: str, build: Callable[[Record], Record]) -> Record:
    """Read, change and write a record, again when somebody else wrote it meanwhile. Nothing to change, no write."""
    for attempt in range(CONFLICTS):
        record = await _read(hand, name)
        made = build(record)
        if made == record:
            return record
        now = hand.clock.now_ms()
        made = replace(made, version=record.version + 1, updated_ms=now)
        fact = AuditFact(actor=hand.actor, action=action, agent=name, message=reason)
        write = Write(op_id=hand.registry.new_id(), at_ms=now, records=(made,), audit=(fact,))
        try:
            await repeat_commit(hand.registry, write, hand.clock, hand.retry)
        except RegistryConflict:
            if attempt + 1 == CONFLICTS:
                raise
        else:
            return made
    raise AssertionError("unreachable: the last attempt answers or raises")


async def _read(hand: Hand, name: AgentName) -> Record:
    match await hand.registry.get(name):
        case Found(value=record):
            return record
        case Absent():
            raise UsageError(f"there is no agent {name} on record", hint="`reconciler get agents -A` lists them")
        case Unreadable(reason=reason):
            raise RegistryError(f"the record of {name} cannot be read: {reason}")
