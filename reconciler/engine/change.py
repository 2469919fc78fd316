"""One change of one agent: intent, effects, rollout, outcome; and what follows when it fails.

It decides nothing that the plan has not decided, but for the one thing that only shows here: whether it worked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from reconciler.engine import journal
from reconciler.engine.effects import put, remove
from reconciler.engine.journal import Key
from reconciler.engine.outcome import Done, begin, deleted, entries_of, fact_of, failed, finish, reasons_of
from reconciler.engine.rollback import Way, remove_all
from reconciler.engine.rollout import RolloutEnd, RolloutResult, Target, pods_of, watch
from reconciler.engine.run import Failed, OutOfReach, Replan, Run, Unfinished, describe, together
from reconciler.engine.settle import settle, wait_pods_gone
from reconciler.engine.turns import Turn
from reconciler.model.agent import Agent
from reconciler.model.errors import (
    OutcomeUnknown,
    RegistryConflict,
    RegistryError,
)
from reconciler.model.events import ChangeFinished, ChangeStarted, Outcome, Overridden
from reconciler.model.objects import MustBe
from reconciler.model.plan import Action, Change, Hold, ObjectChange, Verb
from reconciler.model.registry import (
    AgentState,
    AuditFact,
    JournalPhase,
    Record,
)
from reconciler.model.source import JsonObject

REPLANS = 3
NEEDS_NO_MORE_ROOM = frozenset({Action.CREATE, Action.SCALE})
"""Their pods are those that are reserved. What replaces pods needs room for new ones beside the old, which nobody has
reserved: were many of them to wait for it together, rollouts could fail that are well.
"""


async def run_change(run: Run, change: Change, turn: Turn) -> ChangeFinished:
    """Do a change to its end. Raises LockLost; every other failure is in the answer.

    `turn` may be over when its objects are on their clusters: their pods come up while others have theirs.
    """
    started = run.clock.monotonic()
    run.emit(ChangeStarted(agent=change.name, action=change.action))
    done = Done(turn=turn)
    try:
        way = await _with_replans(run, change, done)
    except (Unfinished, RegistryError, OutcomeUnknown) as error:
        open_still = "; the next apply goes on with it" if done.entry else "; nothing was done"
        way = Way(outcome=Outcome.FAILED, text="not finished", reason=describe(error) + open_still)
    except (Failed, Replan) as error:
        way = Way(outcome=Outcome.FAILED, text="failed", reason=describe(error))
    return ChangeFinished(
        agent=change.name,
        action=change.action,
        outcome=way.outcome,
        text=way.text,
        ready=way.ready,
        wanted=way.wanted,
        duration_ms=round((run.clock.monotonic() - started) * 1000),
        reason=way.reason,
    )


async def _with_replans(run: Run, change: Change, done: Done) -> Way:
    """Do it; where the world is not as planned, plan this agent again and go on, as long as it aims at the same."""
    for attempt in range(REPLANS + 1):
        try:
            return await _attempt(run, change, done)
        except OutOfReach as error:
            rest = _without(change, error.cluster, done)
            if rest is None or attempt == REPLANS:
                raise
            change = rest
        except (Replan, RegistryConflict) as error:
            if attempt == REPLANS:
                return await _give_up(run, done, describe(error))
            again = await run.replan(change.name)
            match again:
                case None:
                    return await _nothing_left(run, change, done)
                case Hold():
                    return await _give_up(run, done, f"{describe(error)}; it is held now: {again.text}")
                case Change() if same_aim(change, again):
                    change = again
                case Change():
                    return await _give_up(
                        run, done, f"{describe(error)}; what is planned for it now is another change: plan again"
                    )
    raise AssertionError("unreachable: the last attempt answers")


def _without(change: Change, lost: str, done: Done) -> Change | None:
    """What is left of a change when a cluster is out of reach; None where that is nothing.

    What was done on the others stays done, and is seen to its end; what is owed on the lost one is on record. Where the
    agent was to arrive on the lost one it leaves no other.
    """
    out = {lost}
    if lost in change.desired:
        out |= {item.cluster for item in change.objects if _leaves(change, item)}
    where = change.desired.keys() if change.desired else {item.cluster for item in change.objects}
    if not where - out - set(change.untouched):
        return None
    settled = {*done.applied, *done.deleted}
    return replace(
        change,
        objects=tuple(
            item for item in change.objects if item.cluster not in out and (item.cluster, item.ref) not in settled
        ),
        untouched=tuple(sorted({*change.untouched, *out})),
        behind=tuple(sorted({*change.behind, *out})),
        record_version=done.record.version if done.record else change.record_version,
    )


def same_aim(approved: Change, again: Change) -> bool:
    """Whether another plan wants the same end for an agent, from where it was or nearer to it.

    A field that it would change and the approved one would not, or from another value, was written by somebody since:
    a newer commit, which an older plan must not take back. A replacement is done only where one was agreed to.
    """
    hash_of = [change.agent.spec_hash if change.agent else "" for change in (approved, again)]
    gentle = again.action is not Action.REPLACE or approved.action is Action.REPLACE
    fields = {item.path: (item.before, item.after) for item in approved.attributes}
    known = all(fields.get(item.path) == (item.before, item.after) for item in again.attributes)
    return hash_of[0] == hash_of[1] and approved.placement == again.placement and gentle and known


async def _nothing_left(run: Run, change: Change, done: Done) -> Way:
    """The plan finds nothing to do any more: somebody else has done it, or our lost replies were successes."""
    if done.entry is None or done.record is None:
        return Way(outcome=Outcome.APPLIED, text="already as planned", reason="")
    if change.agent is None:
        left = set(change.untouched) - set(change.forgotten)
        return await deleted(run, done.record, done.entry, untouched=left)
    return await finish(run, change, change.agent, done)


async def _give_up(run: Run, done: Done, reason: str) -> Way:
    """Stop where the world does not let us on: what was done stays, and the record says why it is not whole."""
    if done.entry is not None and done.record is not None:
        fact = AuditFact(
            actor=run.actor, action=Outcome.FAILED.value, agent=done.record.name, commit=run.commit_id, message=reason
        )
        closed = journal.closed(done.entry, JournalPhase.FAILED, at_ms=run.clock.now_ms())

        def build(fresh: Record) -> Record:
            leaving = fresh.state is AgentState.TERMINATING
            return replace(fresh, state=fresh.state if leaving else AgentState.DEGRADED, message=reason)

        await settle(run, done.record, build, journal_entries=(closed,), audit=(fact,))
    return Way(outcome=Outcome.FAILED, text="failed", reason=reason)


async def _attempt(run: Run, change: Change, done: Done) -> Way:
    record = await run.read(change.name)
    if (record.version if record else 0) != change.record_version:
        raise Replan(f"the record of {change.name} was written since the plan")
    if change.agent is None:
        return await _delete(run, change, record, done)
    agent = change.agent
    if done.pods is None:
        done.pods = await _pods_before(run, change, record)
    await begin(run, change, agent, record, done)
    try:
        await _effects(run, change, done, [item for item in change.objects if not _leaves(change, item)])
        if run.stop.is_set():
            raise Unfinished("interrupted while it rolled out")
        result = await _watch(run, change, agent, done)
        if result.end is RolloutEnd.READY:
            await _leave(run, change, done)
    except Failed as error:
        result = RolloutResult(end=RolloutEnd.FAILED, ready=0, wanted=0, reason=describe(error))
    match result.end:
        case RolloutEnd.READY:
            return await finish(run, change, agent, done, result)
        case RolloutEnd.FAILED:
            return await failed(run, change, agent, done, result)
        case RolloutEnd.UNREADABLE | RolloutEnd.INTERRUPTED:
            raise Unfinished(result.reason)


async def _pods_before(run: Run, change: Change, record: Record | None) -> frozenset[str]:
    """Uids of pods of an earlier rollout: what becomes of them is not this change's doing. Those of a rollout of the
    same spec that was cut short are its own.

    None where a cluster does not answer: then a pod that crashes is taken for a new one, as long as it looks like one.
    """
    wanted = change.agent.spec_hash if change.agent else ""
    if record is None or (record.state in journal.UNSETTLED and record.spec_hash == wanted):
        return frozenset()

    async def pods(cluster: str, body: JsonObject) -> Iterable[JsonObject]:
        with suppress(OutOfReach):
            return (await pods_of(run, run.reach(cluster), body)).values()
        return ()

    answers = await asyncio.gather(
        *(
            pods(item.cluster, item.manifest.body)
            for item in change.objects
            if item.verb is Verb.APPLY and item.manifest and item.ref.kind == "Deployment"
        )
    )
    return frozenset(str(body.get("metadata", {}).get("uid", "")) for bodies in answers for body in bodies)


def _leaves(change: Change, item: ObjectChange) -> bool:
    """Whether an object goes because its agent leaves the cluster: not before the agent is ready where it goes to."""
    return item.verb is Verb.DELETE and bool(change.desired) and item.cluster not in change.desired


async def _leave(run: Run, change: Change, done: Done) -> None:
    """Empty the clusters that an agent leaves. It runs where it went to: what cannot go says nothing of its spec."""
    try:
        await _effects(run, change, done, [item for item in change.objects if _leaves(change, item)])
    except Failed as error:
        raise Unfinished(describe(error)) from error


async def _effects(run: Run, change: Change, done: Done, objects: Sequence[ObjectChange]) -> None:
    """All effects: in order on each cluster, on several at once, so that one that hangs keeps no other waiting."""
    by_cluster: dict[str, list[ObjectChange]] = {}
    for item in objects:
        by_cluster.setdefault(item.cluster, []).append(item)
    if len(by_cluster) < 2:
        return await _in_order(run, change, done, objects)
    await together(_in_order(run, change, done, items) for items in by_cluster.values())
    return None


async def _in_order(run: Run, change: Change, done: Done, objects: Sequence[ObjectChange]) -> None:
    for item in objects:
        key = item.cluster, item.ref
        if item.verb is Verb.DELETE:
            await remove(run, item.cluster, item.ref, uid=_planned_uid(item) or _uid_of(done.record, key))
            done.deleted.append(key)
            done.applied.pop(key, None)
            continue
        live = await put(run, item)
        done.applied[key] = (live, item.manifest.hash if item.manifest else "")
        _tell_overridden(run, change, item)


def _planned_uid(item: ObjectChange) -> str:
    """The object that the plan saw and means, which may be a newer one than is on record: an apply that made it again
    and was interrupted has written down no uid.
    """
    return item.expect.uid if isinstance(item.expect, MustBe) else ""


def _uid_of(record: Record | None, key: Key) -> str:
    held = (item.uid for item in record.inventory if (item.cluster, item.ref) == key) if record else iter(())
    return next(held, "")


def _tell_overridden(run: Run, change: Change, item: ObjectChange) -> None:
    for drift in change.drift if item.force else ():
        if (drift.cluster, drift.ref) == (item.cluster, item.ref) and drift.manager in item.force:
            run.emit(Overridden(agent=change.name, drift=drift))


async def _watch(run: Run, change: Change, agent: Agent, done: Done) -> RolloutResult:
    if change.action in NEEDS_NO_MORE_ROOM:
        done.turn.end()
    targets = [
        Target(
            cluster=cluster,
            ref=manifest.ref,
            applied=done.applied.get((cluster, manifest.ref), (None, ""))[0],
            known=done.pods or frozenset(),
        )
        for cluster, manifests in sorted(change.desired.items())
        for manifest in manifests
        if manifest.ref.kind == "Deployment" and cluster not in change.untouched
    ]
    timeout = run.timeout_s if run.timeout_s is not None else agent.spec.rollout.timeout.seconds
    return await watch(run, change.name, targets, timeout_s=timeout)


async def _delete(run: Run, change: Change, record: Record | None, done: Done) -> Way:
    """Delete all objects of an agent, wait for its pods to end, and let go of its record and its reservation."""
    if record is None:
        return Way(outcome=Outcome.APPLIED, text="already gone", reason="")
    entries = entries_of(run, change, record, done)

    def build(fresh: Record) -> Record:
        return replace(fresh, state=AgentState.TERMINATING, message=reasons_of(change))

    facts = (fact_of(run, change, change.action.value),)
    done.record = await settle(run, record, build, journal_entries=entries, audit=facts)
    run.open_entries.pop(change.name, None)
    done.entry = entries[-1]
    left = tuple(cluster for cluster in change.untouched if cluster not in change.forgotten)
    going = {(item.cluster, item.ref): _planned_uid(item) for item in change.objects if item.verb is Verb.DELETE}
    held = {
        (item.cluster, item.ref): item.uid for item in done.record.inventory if item.cluster not in change.untouched
    }
    seen = {key: uid for key, uid in going.items() if uid}
    ending = await remove_all(run, going | held | seen)
    done.turn.end()
    await wait_pods_gone(run, ending)
    return await deleted(run, done.record, done.entry, untouched=left)
