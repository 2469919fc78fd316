"""One change of one agent: intent, effects, rollout, outcome; and what follows when it fails.

It decides nothing that the plan has not decided, but for the one thing that only shows here: whether it worked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.engine import journal
from reconciler.engine.effects import put, remove
from reconciler.engine.journal import Key, Step
from reconciler.engine.rollback import Way, remove_all, roll_back, turn, undo_creation
from reconciler.engine.rollout import RolloutEnd, RolloutResult, Target, watch
from reconciler.engine.run import Failed, Replan, Run, Unfinished, describe
from reconciler.engine.settle import settle, wait_pods_gone
from reconciler.model.agent import Agent
from reconciler.model.errors import (
    OutcomeUnknown,
    RegistryConflict,
    RegistryError,
)
from reconciler.model.events import ChangeFinished, ChangeStarted, Outcome, Overridden
from reconciler.model.identity import format_path
from reconciler.model.objects import LiveObject
from reconciler.model.plan import Action, Change, Hold, ObjectChange, Verb
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    AuditFact,
    Good,
    JournalEntry,
    JournalPhase,
    Quarantine,
    Record,
)
from reconciler.model.source import JsonObject

REPLANS = 3


@dataclass(slots=True, kw_only=True)
class _Done:
    """What has been done so far, kept while an agent is planned again."""

    applied: dict[Key, tuple[LiveObject, str]] = field(default_factory=dict)
    deleted: list[Key] = field(default_factory=list)
    entry: JournalEntry | None = None
    """The open entry, once it is written."""
    record: Record | None = None

    def held(self) -> tuple[Record, JournalEntry]:
        """Record and open entry, once the intent is written."""
        if self.record is None or self.entry is None:
            raise ValueError("no intent was written")
        return self.record, self.entry


async def run_change(run: Run, change: Change) -> ChangeFinished:
    """Do a change to its end. Raises LockLost; every other failure is in the answer."""
    started = run.clock.monotonic()
    run.emit(ChangeStarted(agent=change.name, action=change.action))
    done = _Done()
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


async def _with_replans(run: Run, change: Change, done: _Done) -> Way:
    """Do it; where the world is not as planned, plan this agent again and go on, as long as it aims at the same."""
    for attempt in range(REPLANS + 1):
        try:
            return await _attempt(run, change, done)
        except (Replan, RegistryConflict) as error:
            if attempt == REPLANS:
                return await _give_up(run, done, describe(error))
            again = await run.replan(change.name)
            match again:
                case None:
                    return await _nothing_left(run, change, done)
                case Hold():
                    return await _give_up(run, done, f"{describe(error)}; it is held now: {again.text}")
                case Change() if _same_aim(change, again):
                    change = again
                case Change():
                    return await _give_up(
                        run, done, f"{describe(error)}; what is planned for it now is another change: plan again"
                    )
    raise AssertionError("unreachable: the last attempt answers")


def _same_aim(approved: Change, again: Change) -> bool:
    """Whether another plan wants the same end for an agent; by a replacement only where one was agreed to."""
    hash_of = [change.agent.spec_hash if change.agent else "" for change in (approved, again)]
    gentle = again.action is not Action.REPLACE or approved.action is Action.REPLACE
    return hash_of[0] == hash_of[1] and approved.placement == again.placement and gentle


async def _nothing_left(run: Run, change: Change, done: _Done) -> Way:
    """The plan finds nothing to do any more: somebody else has done it, or our lost replies were successes."""
    if done.entry is None or done.record is None:
        return Way(outcome=Outcome.APPLIED, text="already as planned", reason="")
    if change.agent is None:
        return await _deleted(run, done.record, done.entry)
    return await _finish(run, change, change.agent, done)


async def _give_up(run: Run, done: _Done, reason: str) -> Way:
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


async def _attempt(run: Run, change: Change, done: _Done) -> Way:
    record = await run.read(change.name)
    if (record.version if record else 0) != change.record_version:
        raise Replan(f"the record of {change.name} was written since the plan")
    if change.agent is None:
        return await _delete(run, change, record, done)
    agent = change.agent
    await _begin(run, change, agent, record, done)
    try:
        await _effects(run, change, done)
        if run.stop.is_set():
            raise Unfinished("interrupted while it rolled out")
        result = await _watch(run, change, agent, done)
    except Failed as error:
        result = RolloutResult(end=RolloutEnd.FAILED, ready=0, wanted=0, reason=describe(error))
    match result.end:
        case RolloutEnd.READY:
            return await _finish(run, change, agent, done, result)
        case RolloutEnd.FAILED:
            return await _failed(run, change, agent, done, result)
        case RolloutEnd.UNREADABLE | RolloutEnd.INTERRUPTED:
            raise Unfinished(result.reason)


async def _begin(run: Run, change: Change, agent: Agent, record: Record | None, done: _Done) -> None:
    """Register a new agent, then write the intent: record, reservation, inventory, journal, audit in one."""
    now = run.clock.now_ms()
    entries = _intent(run, change, record, done)
    entry = entries[-1]
    if record is None:
        record = replace(_new_record(run, change, agent), created_ms=now, updated_ms=now)
        fact = _fact(run, change, "register", f"{record.id}")
        await run.commit(records=(record,), journal=entries, audit=(fact,))
        done.record, done.entry = record, entry

    def build(fresh: Record) -> Record:
        return replace(
            fresh,
            state=AgentState.DEPLOYING,
            reservations=journal.intended_reservations(change, fresh),
            inventory=journal.intended_inventory(change, fresh),
            message=_reasons(change),
        )

    facts = (_fact(run, change, change.action.value),)
    done.record = await settle(run, record, build, journal_entries=entries, audit=facts)
    done.entry = entry


def _intent(run: Run, change: Change, record: Record | None, done: _Done) -> tuple[JournalEntry, ...]:
    """The entry of this change, last, after those of earlier attempts and runs that end with it, closed.

    What was reserved before goes from the oldest to the new one: the record holds more while a change is under way.
    """
    now = run.clock.now_ms()
    open_ones = (*run.open_entries.pop(change.name, ()), *((done.entry,) if done.entry else ()))
    held = journal.former_reservations(open_ones[0]) if open_ones else record.reservations if record else ()
    entry = journal.intent(change, held, commit=run.commit_id, at_ms=now)
    older = (journal.closed(item, JournalPhase.UNDONE, at_ms=now) for item in open_ones if item.id != entry.id)
    return *older, entry


def _new_record(run: Run, change: Change, agent: Agent) -> Record:
    return Record(
        id=run.registry.new_id(),
        name=change.name,
        version=1,
        state=AgentState.REGISTERED,
        labels=agent.labels,
        document=agent.document,
        spec_hash=agent.spec_hash,
        lineage=agent.lineage,
        source_path=agent.position.path,
        commit=run.commit_id,
        revision=0,
        placement=change.placement,
        reservations=change.reservations,
        inventory=journal.intended_inventory(change, None),
        protect=agent.spec.protect,
    )


def _fact(run: Run, change: Change, action: str, message: str = "") -> AuditFact:
    diff: JsonObject = {
        format_path(item.path): {"before": item.before, "after": item.after} for item in change.attributes
    }
    return AuditFact(
        actor=run.actor,
        action=action,
        agent=change.name,
        commit=run.commit_id,
        message=message or _reasons(change),
        diff=diff if action == change.action.value else {},
    )


def _reasons(change: Change) -> str:
    return "; ".join(dict.fromkeys(reason.text for reason in change.reasons))


async def _effects(run: Run, change: Change, done: _Done) -> None:
    for item in change.objects:
        key = item.cluster, item.ref
        if item.verb is Verb.DELETE:
            await remove(run, item.cluster, item.ref, uid=_uid_of(done.record, key))
            done.deleted.append(key)
            done.applied.pop(key, None)
            continue
        live = await put(run, item)
        done.applied[key] = (live, item.manifest.hash if item.manifest else "")
        _tell_overridden(run, change, item)


def _uid_of(record: Record | None, key: Key) -> str:
    held = (item.uid for item in record.inventory if (item.cluster, item.ref) == key) if record else iter(())
    return next(held, "")


def _tell_overridden(run: Run, change: Change, item: ObjectChange) -> None:
    for drift in change.drift if item.force else ():
        if (drift.cluster, drift.ref) == (item.cluster, item.ref) and drift.manager in item.force:
            run.emit(Overridden(agent=change.name, drift=drift))


async def _watch(run: Run, change: Change, agent: Agent, done: _Done) -> RolloutResult:
    targets = [
        Target(cluster=cluster, ref=manifest.ref, applied=done.applied.get((cluster, manifest.ref), (None, ""))[0])
        for cluster, manifests in sorted(change.desired.items())
        for manifest in manifests
        if manifest.ref.kind == "Deployment"
    ]
    timeout = run.timeout_s if run.timeout_s is not None else agent.spec.rollout.timeout.seconds
    return await watch(run, change.name, targets, timeout_s=timeout)


async def _finish(run: Run, change: Change, agent: Agent, done: _Done, result: RolloutResult | None = None) -> Way:
    """The outcome transaction of a change that worked."""
    record, entry = done.held()
    now = run.clock.now_ms()
    number = _next_number(record, agent)

    def build(fresh: Record) -> Record:
        idle = agent.spec.suspend or fresh.suspended
        over = fresh.override is not None and 0 < fresh.override.until_ms <= now
        return replace(
            _as_applied(run, fresh, change, agent, done),
            state=AgentState.SUSPENDED if idle else AgentState.RUNNING,
            revision=number,
            quarantine=None,
            override=None if over else fresh.override,
            good=_good(run, change, agent, number),
            last_seen_ms=now,
            message="",
        )

    closed = journal.closed(entry, JournalPhase.DONE, at_ms=now)
    history = () if number == record.revision else (_revision(run, agent, number, "ready"),)
    await settle(
        run,
        record,
        build,
        journal_entries=(closed,),
        revisions=history,
        audit=(_fact(run, change, Outcome.APPLIED.value),),
    )
    ready, total = (result.ready, result.wanted) if result else (0, 0)
    return Way(outcome=Outcome.APPLIED, text=_text(change), reason="", ready=ready, wanted=total)


def _next_number(record: Record, agent: Agent) -> int:
    """The number of the revision that `agent` is: the present one when the spec is what was applied last."""
    return record.revision if record.revision and record.spec_hash == agent.spec_hash else record.revision + 1


def _as_applied(run: Run, record: Record, change: Change, agent: Agent, done: _Done) -> Record:
    """The record when everything of the change is on its clusters, ready or not."""
    wanted = [(cluster, item.ref) for cluster, manifests in change.desired.items() for item in manifests]
    return replace(
        record,
        labels=agent.labels,
        document=agent.document,
        spec_hash=agent.spec_hash,
        lineage=agent.lineage,
        source_path=agent.position.path,
        commit=run.commit_id,
        placement=change.placement,
        reservations=change.reservations,
        inventory=journal.exact_inventory(record.inventory, applied=done.applied, deleted=done.deleted, wanted=wanted),
        protect=agent.spec.protect,
    )


def _text(change: Change) -> str:
    if change.action is Action.SCALE:
        before, after = ("?" if count is None else count for count in change.replicas)
        return f"scaled {before} -> {after}"
    return _PAST[change.action]


_PAST: Mapping[Action, str] = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.REPLACE: "replaced",
    Action.RECOVER: "recovered",
    Action.DELETE: "deleted",
    Action.ADOPT: "adopted",
}


def _good(run: Run, change: Change, agent: Agent, number: int) -> Good:
    manifests: Mapping[str, tuple[JsonObject, ...]] = {
        cluster: tuple(item.body for item in items) for cluster, items in change.desired.items()
    }
    return Good(
        number=number,
        commit=run.commit_id,
        spec_hash=agent.spec_hash,
        document=agent.document,
        manifests=manifests,
    )


def _revision(run: Run, agent: Agent, number: int, outcome: str) -> AgentRevision:
    return AgentRevision(
        agent=agent.name,
        number=number,
        commit=run.commit_id,
        spec_hash=agent.spec_hash,
        at_ms=run.clock.now_ms(),
        outcome=outcome,
        document=agent.document,
    )


async def _failed(run: Run, change: Change, agent: Agent, done: _Done, result: RolloutResult) -> Way:
    """What a failed rollout leads to: back to nothing, back to the last good revision, or left as it is."""
    record, entry = done.held()
    if record.good is not None and (
        agent.spec.rollout.on_failure == "stop" or record.good.spec_hash == agent.spec_hash
    ):
        return await _left(run, change, agent, done, result)
    number = _next_number(record, agent)
    step = Step.UNDO if record.good is None else Step.ROLL_BACK
    history = _revision(run, agent, number, f"failed: {result.reason}")
    applied = [(key, live) for key, (live, _hash) in done.applied.items()]
    done.record, done.entry = await turn(
        run, record, entry, step, reason=result.reason, history=history, applied=applied
    )
    if step is Step.UNDO:
        way = await undo_creation(run, *done.held())
    else:
        timeout = run.timeout_s if run.timeout_s is not None else agent.spec.rollout.timeout.seconds
        way = await roll_back(run, *done.held(), timeout_s=timeout)
    return replace(way, wanted=way.wanted or result.wanted)


async def _left(run: Run, change: Change, agent: Agent, done: _Done, result: RolloutResult) -> Way:
    """A failure that is not gone back on: what runs stays, and its spec, where it is a new one, is quarantined."""
    record, entry = done.held()
    now = run.clock.now_ms()
    new = record.good is None or record.good.spec_hash != agent.spec_hash
    number = _next_number(record, agent)

    def build(fresh: Record) -> Record:
        return replace(
            _as_applied(run, fresh, change, agent, done),
            state=AgentState.DEGRADED,
            revision=number,
            quarantine=Quarantine(spec_hash=agent.spec_hash, since_ms=now, reason=result.reason)
            if new
            else fresh.quarantine,
            message=result.reason,
        )

    closed = journal.closed(entry, JournalPhase.FAILED, at_ms=now)
    history = (_revision(run, agent, number, f"failed: {result.reason}"),) if new else ()
    fact = _fact(run, change, Outcome.FAILED.value, result.reason)
    await settle(run, record, build, journal_entries=(closed,), revisions=history, audit=(fact,))
    return Way(outcome=Outcome.FAILED, text="failed", reason=result.reason, ready=result.ready, wanted=result.wanted)


async def _delete(run: Run, change: Change, record: Record | None, done: _Done) -> Way:
    """Delete all objects of an agent, wait for its pods to end, and let go of its record and its reservation."""
    if record is None:
        return Way(outcome=Outcome.APPLIED, text="already gone", reason="")
    entries = _intent(run, change, record, done)

    def build(fresh: Record) -> Record:
        return replace(fresh, state=AgentState.TERMINATING, message=_reasons(change))

    facts = (_fact(run, change, change.action.value),)
    done.record = await settle(run, record, build, journal_entries=entries, audit=facts)
    done.entry = entries[-1]
    uids = {(item.cluster, item.ref): "" for item in change.objects if item.verb is Verb.DELETE}
    uids.update({(item.cluster, item.ref): item.uid for item in done.record.inventory})
    await wait_pods_gone(run, await remove_all(run, uids))
    return await _deleted(run, done.record, done.entry)


async def _deleted(run: Run, record: Record, entry: JournalEntry) -> Way:
    def build(fresh: Record) -> Record:
        return replace(fresh, state=AgentState.GONE, placement=(), reservations=(), inventory=(), message="")

    fact = AuditFact(actor=run.actor, action=Outcome.APPLIED.value, agent=record.name, commit=run.commit_id)
    fact = replace(fact, message=f"{record.id} is gone")
    closed = journal.closed(entry, JournalPhase.DONE, at_ms=run.clock.now_ms())
    await settle(run, record, build, journal_entries=(closed,), audit=(fact,))
    return Way(outcome=Outcome.APPLIED, text="deleted", reason="")
