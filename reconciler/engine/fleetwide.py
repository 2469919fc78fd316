"""What an apply reads and writes of the fleet as a whole: who its clusters are, its commit, the plans that are spent.

May not touch an agent. Others may write the same: what is written here is read just before, and has a version.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from reconciler.engine.observe import ask_who
from reconciler.engine.run import OutOfReach, Run
from reconciler.model.errors import RegistryConflict, RegistryError
from reconciler.model.objects import Absent, ClusterIdentity, Found, Observation, Unreadable
from reconciler.model.plan import HoldCode, Plan
from reconciler.model.registry import AuditFact, FleetRecord
from reconciler.plan.guard import strangers

KEPT_SPENT_PLANS = 100
CONFLICTS = 5


async def _fleet(run: Run) -> FleetRecord | None:
    answer = await run.registry.snapshot()
    match answer:
        case Found(value=snapshot):
            run.sequence = max(run.sequence, snapshot.seq)
            return snapshot.fleet
        case Absent():
            return None
        case Unreadable(reason=reason):
            raise RegistryError(f"the registry cannot be read: {reason}")


async def first(run: Run, plan: Plan, *, spends: str = "") -> None:
    """Before any effect: see that each cluster is who it was, or pin who it is at first contact; spend the saved plan.

    One that does not answer, or is another one, is out of reach in this run: what is to be done there is left.
    """
    await _unhurried(run, lambda: _first(run, plan, spends))


async def _unhurried(run: Run, work: Callable[[], Awaitable[None]]) -> None:
    """Read and write, again when somebody of another shard wrote meanwhile. Raises LockLost, RegistryError."""
    for attempt in range(CONFLICTS):
        try:
            return await work()
        except RegistryConflict:
            if attempt + 1 == CONFLICTS:
                raise
            await run.lock.check()
    return None


async def _first(run: Run, plan: Plan, spends: str) -> None:
    fleet = await _fleet(run)
    pinned = dict(fleet.cluster_uids) if fleet else {}
    uids = {name: uid for name, uid in pinned.items() if name not in plan.policy.forget_clusters}
    accepted = plan.policy.accept_clusters
    touched = sorted({item.cluster for change in plan.changes for item in change.objects} | set(accepted))
    for name, who in zip(touched, await asyncio.gather(*(_who(run, name) for name in touched)), strict=True):
        if not isinstance(who, Found):
            run.lose(name, who.reason if isinstance(who, Unreadable) else "it is nobody")
            continue
        if name not in pinned or name in accepted:
            uids[name] = who.value.uid
        others = strangers({name: who}, fleet, accepted)
        if others:
            run.lose(name, others[name], for_s=math.inf)
    spent = tuple(fleet.spent_plans) if fleet else ()
    if spends:
        spent = (*(item for item in spent if item != spends), spends)[-KEPT_SPENT_PLANS:]
    facts = tuple(_repinned(run, name, old, uids.get(name)) for name, old in pinned.items() if uids.get(name) != old)
    await _put_fleet(run, plan, fleet, commit=fleet.commit if fleet else "", uids=uids, spent=spent, audit=facts)
    if plan.policy.ignore_windows and (passed := _ignored(run, plan)):
        await run.commit(audit=passed)


def _ignored(run: Run, plan: Plan) -> tuple[AuditFact, ...]:
    """What goes out although a change window says that it is to wait."""
    changed = {change.name for change in plan.changes}
    return tuple(
        AuditFact(
            actor=run.actor,
            action="ignore-windows",
            agent=name,
            commit=plan.revision.commit,
            message=hold.text,
        )
        for hold in plan.holds
        if hold.code is HoldCode.WINDOW
        for name in hold.agents
        if name in changed
    )


def _repinned(run: Run, name: str, old: str, new: str | None) -> AuditFact:
    """That a cluster is another one from now on, or none at all."""
    action, text = ("forget-cluster", "gone for good") if new is None else ("accept-cluster", f"now {new}")
    return AuditFact(actor=run.actor, action=action, agent=None, message=f"cluster {name}: {old}, {text}")


async def _who(run: Run, name: str) -> Observation[ClusterIdentity]:
    """Who a cluster is; what fails at once is asked again, what is silent is not."""
    answer: Observation[ClusterIdentity] = Unreadable(reason="it was never asked")
    for attempt in range(run.retry.attempts):
        try:
            cluster = run.reach(name)
        except OutOfReach as error:
            return Unreadable(reason=error.message)
        clock = asyncio.get_running_loop().time
        started = clock()
        answer = await ask_who(cluster, run.patience)
        if isinstance(answer, Found) or clock() - started >= run.patience.connect_s:
            break
        await run.pause(attempt)
    return answer


def reaches_commit(plan: Plan) -> bool:
    """Whether the whole fleet follows the plan's commit. While a rewind is not accepted it does not: with that commit
    on record the next plan would see no rewind any more, and delete what is held.
    """
    rewind = any(hold.code is HoldCode.REWIND for hold in plan.holds)
    return not (plan.partial or plan.policy.destroy or rewind) and bool(plan.revision.commit)


async def note_commit(run: Run, plan: Plan) -> None:
    """Remember the commit that the whole fleet was brought to; what it is compared with is the next one.

    Not when another apply has brought it elsewhere since the plan was made: that one is the newer.
    """
    if reaches_commit(plan):
        await _unhurried(run, lambda: _note_commit(run, plan))


async def _note_commit(run: Run, plan: Plan) -> None:
    fleet = await _fleet(run)
    if fleet is not None and fleet.commit not in (plan.on_record, plan.revision.commit):
        return
    uids, spent = (fleet.cluster_uids, fleet.spent_plans) if fleet else ({}, ())
    await _put_fleet(run, plan, fleet, commit=plan.revision.commit, uids=uids, spent=spent)


async def _put_fleet(
    run: Run,
    plan: Plan,
    fleet: FleetRecord | None,
    *,
    commit: str,
    uids: Mapping[str, str],
    spent: tuple[str, ...],
    audit: tuple[AuditFact, ...] = (),
) -> None:
    before = fleet or FleetRecord(name=plan.fleet, version=0)
    after = replace(before, commit=commit, cluster_uids=dict(sorted(uids.items())), spent_plans=spent)
    if after != before:
        await run.commit(fleet=replace(after, version=before.version + 1), audit=audit)
