"""Approving what a plan holds back: a person saw it, and it goes on record for that commit and those agents alone."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine.operate import Hand, fleet_on_record, write_decided
from reconciler.model.errors import UsageError
from reconciler.model.plan import Hold, Plan
from reconciler.model.registry import Approval, AuditFact, FleetRecord, Write
from reconciler.plan.approval import approvable, remembered
from reconciler.plan.guard import names_text

DAY_MS = 24 * 3600 * 1000


async def approve(hand: Hand, plan: Plan, key: str, *, reason: str = "", for_ms: int = DAY_MS) -> Approval:
    """Allow what `plan` holds under `key`; the next plan of that commit lifts it. Approved twice it lasts anew.

    Raises UsageError where nothing is held under that key, and where too many of that commit stand already;
    RegistryError.
    """
    known = approvable(plan)
    hold = known.get(key)
    if hold is None:
        held = ", ".join(known)
        raise UsageError(
            f"nothing that is held can be approved as {key[:60]!r}: what was seen may have changed since",
            hint=f"look again; now there is: {held}" if held else "nothing is held now that can be approved",
        )
    now = hand.clock.now_ms()
    made = Approval(
        commit=plan.revision.commit,
        code=hold.code.value,
        agents=hold.agents,
        author=hand.actor,
        reason=reason,
        since_ms=now,
        until_ms=now + for_ms,
    )

    async def decide() -> tuple[Approval, Write]:
        return made, _write(hand, await fleet_on_record(hand, plan.fleet), made, hold)

    return await write_decided(hand, decide)


def _write(hand: Hand, fleet: FleetRecord, made: Approval, hold: Hold) -> Write:
    message = f"{hold.text} ({names_text(hold.agents)})" + (f": {made.reason}" if made.reason else "")
    return Write(
        op_id=hand.registry.new_id(),
        at_ms=made.since_ms,
        fleet=replace(fleet, version=fleet.version + 1, approvals=remembered(fleet.approvals, made)),
        audit=(AuditFact(actor=hand.actor, action="approve", agent=None, commit=made.commit, message=message),),
    )
