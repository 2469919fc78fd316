"""`reconciler why`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import PlanRequest, opened, run
from reconciler.cli.looking import Presence, look, snapshot
from reconciler.cli.output import clean, emit, one_line, table, to_json
from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.plan_words import left_text, left_to_others
from reconciler.cli.views.records import moment
from reconciler.cli.views.recovery import HEADINGS, ladder_rows, recovery_json, standing
from reconciler.model.agent import Agent, Recovery
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.plan import HoldCode, Plan
from reconciler.model.registry import Record
from reconciler.spec.provenance import origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """One thing that keeps an agent, and what clears it."""

    kind: str
    text: str
    clears: str


def why(agent: options.Agent, namespace: options.InNamespace = None, output: options.Output = "text") -> None:
    """Say everything that keeps an agent from being as declared and ready, and what clears each.

    A fresh plan is made, and the record, the journal and the agent's pods are looked at. Of an agent that was ill the
    remedies are shown that a daemon took, and those that come next.
    """
    name = options.agent_named(agent, namespace)
    told, blockers, ladder = run(_why(name))
    if output == "json":
        found = [asdict(blocker) for blocker in blockers]
        emit(to_json({"agent": str(name), "standing": told, "blockers": found, "recovery": ladder.value}))
        return
    emit(f"{name}: {told}." if blockers else f"Nothing keeps {name}: {told}.")
    for blocker in blockers:
        emit(f"  {blocker.kind}: {clean(blocker.text)}")
        if blocker.clears:
            emit(f"      {clean(blocker.clears)}")
    if ladder.rows:
        emit(f"\n{table(HEADINGS, ladder.rows)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What was done about the agent's illnesses, and what is to come: for people, and as JSON."""

    rows: Sequence[Sequence[str]] = ()
    value: dict[str, Any] | None = None


async def _why(name: AgentName) -> tuple[str, list[Blocker], Ladder]:
    async with opened() as session:
        plan = await session.plan(PlanRequest())
        stores = await session.stores()
        declaration = await session.declaration()
        record = (await snapshot(stores.registry)).records.get(name)
        seen = (await look(stores, frozenset({name.namespace}))).of(record) if record else Presence()
        planned = [*_planned(plan, name)]
        if record is None and not planned and not (name in declaration.agents or name in declaration.frozen_agents):
            raise UsageError(f"no agent {name} is declared or on record", hint="`reconciler get agents` lists agents")
        found = [*_unreadable(plan), *planned]
        if (agent := declaration.agents.get(name)) is not None:
            found += _suspended(agent)
        if record is not None:
            told_by_plan = {blocker.kind for blocker in planned}
            found += [one for one in _recorded(record) if one.kind not in told_by_plan]
            found += _pods(seen) + _left(plan, record)
        found += [
            Blocker(
                kind="unfinished",
                text=f"{entry.action} began at {moment(entry.at_ms)}: that apply runs still, or stopped in the middle",
                clears="`reconciler apply` finishes it",
            )
            for entry in await stores.registry.open_journal()
            if entry.agent == name
        ]
        told = f"it is {record.state}, ready {seen.text}" if record else "it is not on record yet"
        rules = agent.spec.recovery if agent is not None else None
        ladder = Ladder()
        if record is not None:
            ladder = Ladder(rows=ladder_rows(record, rules), value=recovery_json(record, rules))
            found += _ill(record, rules)
        return told, list(dict.fromkeys(found)), ladder


def _unreadable(plan: Plan) -> list[Blocker]:
    return [
        Blocker(
            kind="unreadable",
            text=f"{one.source}: {one.problem}",
            clears="nothing is deleted or judged there until it can be read; `reconciler doctor` looks at it",
        )
        for one in plan.completeness
        if one.problem
    ]


def _planned(plan: Plan, name: AgentName) -> list[Blocker]:
    found = [
        Blocker(kind=str(hold.code), text=hold.text, clears=hold.lift) for hold in plan.holds if name in hold.agents
    ]
    waiting = {change.name for change in plan.changes}
    for change in plan.changes:
        if change.name != name:
            continue
        reasons = "; ".join(reason.text for reason in change.reasons) or "it differs from what is declared"
        found.append(
            Blocker(kind="not applied", text=f"{change.action}: {reasons}", clears="`reconciler apply` does it")
        )
        found += [
            Blocker(
                kind=str(HoldCode.DEPENDENCY),
                text=f"it comes after {other}",
                clears=f"{other} has to be applied and ready first; `reconciler why {other}`",
            )
            for other in change.after
            if other in waiting
        ]
    return found


def _suspended(agent: Agent) -> list[Blocker]:
    """Suspended by its file: nothing of it runs, and that is as declared."""
    if not agent.spec.suspend:
        return []
    written = origin(agent, ("suspend",))
    place = str(written.position) if written and written.position else agent.position.path
    clears = f"take `suspend: true` out of {place.split(':')[0]}, commit, and apply"
    return [Blocker(kind="suspended", text=f"in Git ({place})", clears=clears)]


def _recorded(record: Record) -> list[Blocker]:
    found = []
    if record.quarantine is not None:
        quarantine = record.quarantine
        found.append(
            Blocker(
                kind="quarantined",
                text=f"since {moment(quarantine.since_ms)}: {one_line(quarantine.reason, 400)}",
                clears=f"change its spec, or try it again with `reconciler resume {record.name}`",
            )
        )
    if record.suspended:
        found.append(
            Blocker(kind="suspended", text="by hand", clears=f"`reconciler resume {record.name}` starts it again")
        )
    if record.override is not None:
        override = record.override
        until = f"until {moment(override.until_ms)}" if override.until_ms else "until it is lifted"
        count = plural(override.replicas, "replica")
        found.append(
            Blocker(
                kind="override",
                text=f"{count} by {override.author} {until}: {one_line(override.reason, 200)}",
                clears="Git takes over when it ends",
            )
        )
    return found


def _ill(record: Record, rules: Recovery | None) -> list[Blocker]:
    """An illness that a daemon sees, and how far its remedies have come."""
    state = record.present_recovery
    if state is None or not state.since_ms or state.well_ms:
        return []
    because = f": {one_line(state.taken[-1].because, 400)}" if state.taken else ""
    clears = "the daemon goes on by itself"
    if state.left:
        clears = f"mend it and commit, or begin again with `reconciler resume {record.name}`"
    return [Blocker(kind="recovery", text=f"{standing(record, rules)}{because}", clears=clears)]


def _pods(seen: Presence) -> list[Blocker]:
    found = [
        Blocker(kind="unreadable", text=why, clears="nothing is judged there until it can be read")
        for why in seen.unreadable
    ]
    for pod in seen.pods:
        if not pod.ready and pod.phase != "Terminating":
            reason = pod.reason or f"{pod.phase.lower()}, not ready yet"
            found.append(Blocker(kind="pod not ready", text=f"{pod.ref.name}: {reason}", clears=_clears(reason)))
    return found


def _left(plan: Plan, record: Record) -> list[Blocker]:
    """Fields of the agent's objects that another manager holds, so that they are not as declared."""
    owned = {(entry.cluster, entry.ref) for entry in record.inventory}
    return [
        Blocker(
            kind="held by another manager",
            text=left_text(drift),
            clears=f"have {one_line(drift.manager, 100)} give the field up, or declare what it wants",
        )
        for drift in left_to_others(plan)
        if (drift.cluster, drift.ref) in owned
    ]


def _clears(reason: str) -> str:
    """What helps against a pod's trouble, where that follows from its reason."""
    if "ecret" in reason:
        return "`reconciler secret set NAMESPACE/NAME KEY < FILE` gives it its secret"
    if "CrashLoopBackOff" in reason or "Error" in reason:
        return "`reconciler logs NAMESPACE/NAME --previous` shows what it printed before it ended"
    return ""


command = build(why, name="why", examples=("reconciler why demo/hello", "reconciler why demo/hello -o json"))
