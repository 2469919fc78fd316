"""Quarantines that nothing asks for any more: their spec is declared no more, and what runs is what is declared.

A revert in Git changes nothing on a cluster, so no change would ever say so. Decides by a whole plan, writes records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from reconciler.engine.fleetwide import reaches_commit
from reconciler.engine.run import Run
from reconciler.engine.settle import settle
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Plan
from reconciler.model.registry import AgentState, AuditFact, Record

LIFTED = "unquarantine"
SETTLED = frozenset({AgentState.RUNNING, AgentState.SUSPENDED})
"""Where no other work says how an agent is."""


def lapsed(plan: Plan, records: Mapping[AgentName, Record]) -> list[Record]:
    """Those that `plan` neither changes nor holds, though a quarantine is on record: it is of another spec then.

    None where the plan could not see everything: who is not spoken of there may only not have been seen.
    """
    if not _saw_all(plan):
        return []
    held = [record for record in records.values() if _is_of_another(record) and record.state in SETTLED]
    if not held:
        return []
    spoken_of = {change.name for change in plan.changes} | {name for hold in plan.holds for name in hold.agents}
    return sorted((record for record in held if record.name not in spoken_of), key=lambda record: record.name)


def _saw_all(plan: Plan) -> bool:
    return reaches_commit(plan) and not any(one.problem for one in plan.completeness)


def _is_of_another(record: Record) -> bool:
    return record.quarantine is not None and record.quarantine.spec_hash != record.spec_hash


async def lift(run: Run, plan: Plan, *, mine: Callable[[AgentName], bool] = lambda _name: True) -> None:
    """Take quarantines that lapsed off the record, of agents that are `mine`. Raises LockLost, RegistryError."""
    if not _saw_all(plan):
        return  # what targets are applied for is no reason to read the whole registry
    match await run.registry.snapshot():
        case Found(value=snapshot):
            for record in lapsed(plan, snapshot.records):
                if mine(record.name):
                    await _lift(replace(run, lock=run.lock.of(record.name)), record)
        case _:
            pass  # the next pass looks again


async def _lift(run: Run, record: Record) -> None:
    held = record.quarantine

    def build(fresh: Record) -> Record | None:
        if fresh.quarantine != held:
            return None
        return replace(fresh, quarantine=None, message="")

    text = "the spec that was quarantined is declared no more"
    fact = AuditFact(actor=run.actor, action=LIFTED, agent=record.name, commit=run.commit_id, message=text)
    await settle(run, record, build, audit=(fact,))
