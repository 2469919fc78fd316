"""Silences: written into the fleet's record with an author, a reason and an end, so that every daemon keeps to them.

They touch no agent and need no apply lock. Each is in the audit, its end by hand too; those that ended by themselves
are dropped with the next that is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reconciler.engine.operate import Hand, fleet_on_record, write_decided
from reconciler.model.alert import Silence
from reconciler.model.errors import UsageError
from reconciler.model.registry import AuditFact, FleetRecord, Write

MOST = 100
"""Silences that a fleet may have at once."""


async def silences(hand: Hand) -> tuple[Silence, ...]:
    """Those that have not ended. Raises RegistryError."""
    return _lasting(await fleet_on_record(hand, ""), hand.clock.now_ms())


async def silence(hand: Hand, fleet: str, wanted: Silence) -> Silence:
    """Begin a silence; its id, author and beginning are given here. Raises UsageError, RegistryError."""
    now_ms = hand.clock.now_ms()
    made = replace(wanted, id=hand.registry.new_id(), author=hand.actor, since_ms=now_ms)

    def build(kept: tuple[Silence, ...]) -> tuple[Silence, ...]:
        if len(kept) >= MOST:
            raise UsageError(f"the fleet has {MOST} silences", hint="end some of them: `reconciler alerts list`")
        return (*kept, made)

    await _write(
        hand, fleet, AuditFact(actor=hand.actor, action="silence", agent=made.agent, message=_said(made)), build
    )
    return made


async def end(hand: Hand, fleet: str, chosen: Callable[[Silence], bool]) -> tuple[Silence, ...]:
    """End the silences that are chosen, and answer them; none is no error. Raises RegistryError."""
    ended: tuple[Silence, ...] = ()

    def build(kept: tuple[Silence, ...]) -> tuple[Silence, ...]:
        nonlocal ended
        ended = tuple(one for one in kept if chosen(one))
        return tuple(one for one in kept if not chosen(one))

    if any(chosen(one) for one in await silences(hand)):
        await _write(hand, fleet, AuditFact(actor=hand.actor, action="unsilence", agent=None), build)
    return ended


async def _write(
    hand: Hand, fleet: str, fact: AuditFact, build: Callable[[tuple[Silence, ...]], tuple[Silence, ...]]
) -> None:
    """Read, change and write the fleet's record, again when somebody else wrote it meanwhile."""

    async def decide() -> tuple[None, Write]:
        record = await fleet_on_record(hand, fleet)
        now_ms = hand.clock.now_ms()
        before = _lasting(record, now_ms)
        after = build(before)
        gone = ", ".join(one.id for one in before if one not in after)
        made = replace(record, version=record.version + 1, silences=after)
        told = replace(fact, message=fact.message or gone)
        return None, Write(op_id=hand.registry.new_id(), at_ms=now_ms, fleet=made, audit=(told,))

    await write_decided(hand, decide)


def _lasting(record: FleetRecord, now_ms: int) -> tuple[Silence, ...]:
    return tuple(one for one in record.silences if one.until_ms > now_ms)


def _said(one: Silence) -> str:
    """What a silence is for, for the audit."""
    parts = [one.name, one.namespace and f"namespace {one.namespace}", one.cluster and f"cluster {one.cluster}"]
    parts += [f"{key}={value}" for key, value in sorted(one.labels.items())]
    what = ", ".join(part for part in parts if part) or ("" if one.agent is not None else "all alerts")
    return f"{one.id} {what}: {one.reason}".replace(" :", ":")
