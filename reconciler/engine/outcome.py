"""What is written of a change: its intent before the first effect, its outcome after the last.

Each is one registry transaction of record, journal, history and audit. May not touch a cluster, but for the ways back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from reconciler.engine import journal
from reconciler.engine.journal import Key, Step
from reconciler.engine.rollback import Way, roll_back, turn, undo_creation
from reconciler.engine.rollout import RolloutResult
from reconciler.engine.run import OutOfReach, Replan, Run, Unfinished, describe
from reconciler.engine.settle import settle
from reconciler.engine.turns import Turn
from reconciler.model.agent import Agent
from reconciler.model.errors import RegistryConflict
from reconciler.model.events import Outcome
from reconciler.model.identity import format_path
from reconciler.model.objects import LiveObject
from reconciler.model.plan import Action, Change, Verb
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

READY, FAILED = "ready", "failed"
"""What history says of a revision; a failure goes on with its reason."""


@dataclass(slots=True, kw_only=True)
class Done:
    """What has been done so far, kept while an agent is planned again."""

    turn: Turn
    """Among those who write to clusters: given back where it only waits for pods."""
    applied: dict[Key, tuple[LiveObject, str]] = field(default_factory=dict)
    deleted: list[Key] = field(default_factory=list)
    entry: JournalEntry | None = None
    """The open entry, once it is written."""
    record: Record | None = None
    pods: frozenset[str] | None = None
    """Uids of the agent's pods from before the first effect; None before they were looked for."""

    def held(self) -> tuple[Record, JournalEntry]:
        """Record and open entry, once the intent is written."""
        if self.record is None or self.entry is None:
            raise ValueError("no intent was written")
        return self.record, self.entry


async def begin(run: Run, change: Change, agent: Agent, record: Record | None, done: Done) -> None:
    """Register a new agent, then write the intent: record, reservation, inventory, journal, audit in one."""
    now = run.clock.now_ms()
    entries = entries_of(run, change, record, done)
    entry = entries[-1]
    if record is None:
        record = replace(_new_record(run, change, agent), created_ms=now, updated_ms=now)
        fact = fact_of(run, change, "register", f"{record.id}")
        await run.commit(records=(record,), journal=entries, audit=(fact,))
        run.open_entries.pop(change.name, None)
        done.record, done.entry = record, entry

    def build(fresh: Record) -> Record:
        return replace(
            fresh,
            state=AgentState.DEPLOYING,
            begun=agent.spec_hash,
            reservations=journal.intended_reservations(change.reservations, fresh),
            inventory=journal.intended_inventory(change, fresh),
            message=reasons_of(change),
        )

    facts = (fact_of(run, change, change.action.value),)
    done.record = await settle(run, record, build, journal_entries=entries, audit=facts)
    run.open_entries.pop(change.name, None)
    done.entry = entry


def entries_of(run: Run, change: Change, record: Record | None, done: Done) -> tuple[JournalEntry, ...]:
    """The entry of this change, last, after those of earlier attempts and runs that end with it, closed.

    They stay in the run until they are written: what is tried again knows them still. What was reserved before goes
    from the oldest to the new one: the record holds more while a change is under way.
    """
    now = run.clock.now_ms()
    open_ones = (*run.open_entries.get(change.name, ()), *((done.entry,) if done.entry else ()))
    held = journal.former_reservations(open_ones[0]) if open_ones else record.reservations if record else ()
    former = {key: body for item in reversed(open_ones) for key, body in journal.former_objects(item).items()}
    entry = journal.intent(change, held, commit=run.commit_id, at_ms=now, former=former)
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


def fact_of(run: Run, change: Change, action: str, message: str = "") -> AuditFact:
    """What the audit says of a step of `change`. Fields stand with its beginning, where there was something before."""
    shown = change.attributes if action == change.action.value and change.action is not Action.CREATE else ()
    return AuditFact(
        actor=run.actor,
        action=action,
        agent=change.name,
        commit=run.commit_id,
        message=message or reasons_of(change),
        diff={format_path(item.path): {"before": item.before, "after": item.after} for item in shown},
    )


def reasons_of(change: Change) -> str:
    return "; ".join(dict.fromkeys(reason.text for reason in change.reasons))


async def finish(run: Run, change: Change, agent: Agent, done: Done, result: RolloutResult | None = None) -> Way:
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
            revision=max(number, fresh.revision),
            quarantine=_quarantine_after(fresh, agent),
            override=None if over else fresh.override,
            good=_good(run, change, agent, number, fresh.good),
            last_seen_ms=now,
            message="",
        )

    closed = journal.closed(entry, JournalPhase.DONE, at_ms=now)
    history = (_revision(run, agent, number, READY),) if number > record.revision else ()
    await settle(
        run,
        record,
        build,
        journal_entries=(closed,),
        revisions=history,
        audit=(fact_of(run, change, Outcome.APPLIED.value),),
    )
    ready, total = (result.ready, result.wanted) if result else (0, 0)
    return Way(outcome=Outcome.APPLIED, text=_text(change), reason="", ready=ready, wanted=total)


def _next_number(record: Record, agent: Agent) -> int:
    """The number of the revision that `agent` is: the present one when the spec is what was applied last.

    After a way back that is the one gone back to; the record's number is then of the one that failed.
    """
    if not record.revision or record.spec_hash != agent.spec_hash:
        return record.revision + 1
    return record.good.number if record.good and record.good.spec_hash == agent.spec_hash else record.revision


def _quarantine_after(record: Record, agent: Agent) -> Quarantine | None:
    """What is quarantined once `agent` is brought up: nothing more, where that is another spec than what ran.

    Where it is the same (scaled by hand, mended) Git may ask for what failed still, and would get it next.
    """
    held = record.quarantine
    stays = held is not None and held.spec_hash != agent.spec_hash and record.spec_hash == agent.spec_hash
    return held if stays else None


def _as_applied(run: Run, record: Record, change: Change, agent: Agent, done: Done) -> Record:
    """The record when everything of the change is on its clusters, ready or not."""
    wanted = [
        (cluster, item.ref)
        for cluster, manifests in change.desired.items()
        for item in manifests
        if cluster not in change.untouched
    ]
    # what is to be deleted is there, also where a run that was interrupted left it without a uid
    there = [(item.cluster, item.ref) for item in change.objects if item.verb is Verb.DELETE]
    forgotten = [(item.cluster, item.ref) for item in record.inventory if item.cluster in change.forgotten]
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
        inventory=journal.exact_inventory(
            record.inventory,
            applied=done.applied,
            deleted=[*done.deleted, *forgotten],
            wanted=[*wanted, *there],
            untouched=change.untouched,
        ),
        protect=agent.spec.protect,
        behind=change.behind,
        home=change.home,
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


def _good(run: Run, change: Change, agent: Agent, number: int, before: Good | None) -> Good:
    """What a rollback returns to. Where nothing was done it is what was good there before."""
    manifests: dict[str, tuple[JsonObject, ...]] = {
        cluster: tuple(item.body for item in items)
        for cluster, items in change.desired.items()
        if cluster not in change.untouched
    }
    for cluster in change.untouched if before else ():
        if before and cluster in before.manifests:
            manifests[cluster] = before.manifests[cluster]
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


async def failed(run: Run, change: Change, agent: Agent, done: Done, result: RolloutResult) -> Way:
    """What a failed rollout leads to: back to nothing, back to the last good revision, or left as it is."""
    record, entry = done.held()
    good = record.good
    stays = good is not None and (agent.spec.rollout.on_failure == "stop" or good.spec_hash == agent.spec_hash)
    if stays or (good is None and _took_the_place_of_another(change)):
        return await _left(run, change, agent, done, result)
    number = _next_number(record, agent)
    step = Step.UNDO if record.good is None else Step.ROLL_BACK
    history = _revision(run, agent, number, f"{FAILED}: {result.reason}")
    applied = [(key, live) for key, (live, _hash) in done.applied.items()]
    done.record, done.entry = await turn(
        run, record, entry, step, reason=result.reason, history=history, applied=applied
    )
    try:
        if step is Step.UNDO:
            way = await undo_creation(run, *done.held())
        else:
            timeout = run.timeout_s if run.timeout_s is not None else agent.spec.rollout.timeout.seconds
            way = await roll_back(run, *done.held(), timeout_s=timeout)
    except (Replan, OutOfReach, RegistryConflict) as error:
        # Of the change nothing is left to be planned again, or to be gone on with elsewhere: it is on its way back.
        raise Unfinished(describe(error)) from error
    return replace(way, wanted=way.wanted or result.wanted)


def _took_the_place_of_another(change: Change) -> bool:
    """Whether an adoption replaced what ran: there is no way back to it, and nothing would be worse than this."""
    return change.action is Action.ADOPT and any(
        item.verb is Verb.REPLACE and item.ref.kind == "Deployment" for item in change.objects
    )


async def _left(run: Run, change: Change, agent: Agent, done: Done, result: RolloutResult) -> Way:
    """A failure that is not gone back on: what runs stays, and its spec, where it is a new one, is quarantined."""
    record, entry = done.held()
    now = run.clock.now_ms()
    new = record.good is None or record.good.spec_hash != agent.spec_hash
    number = _next_number(record, agent)

    def build(fresh: Record) -> Record:
        return replace(
            _as_applied(run, fresh, change, agent, done),
            state=AgentState.DEGRADED,
            revision=max(number, fresh.revision),
            quarantine=Quarantine(spec_hash=agent.spec_hash, since_ms=now, reason=result.reason)
            if new
            else fresh.quarantine,
            message=result.reason,
        )

    closed = journal.closed(entry, JournalPhase.FAILED, at_ms=now)
    history = (_revision(run, agent, number, f"{FAILED}: {result.reason}"),) if new else ()
    fact = fact_of(run, change, Outcome.FAILED.value, result.reason)
    await settle(run, record, build, journal_entries=(closed,), revisions=history, audit=(fact,))
    return Way(outcome=Outcome.FAILED, text="failed", reason=result.reason, ready=result.ready, wanted=result.wanted)


async def deleted(run: Run, record: Record, entry: JournalEntry, *, untouched: Collection[str] = ()) -> Way:
    """The outcome of a deletion. What may still be on clusters that were left alone keeps the agent on record."""
    left = tuple(item for item in record.inventory if item.cluster in untouched)
    where = tuple(sorted({item.cluster for item in left}))
    text = f"{' and '.join(where)} could not be read: what is left there is deleted when it can" if left else ""

    def build(fresh: Record) -> Record:
        if not left:
            return replace(
                fresh, state=AgentState.GONE, placement=(), reservations=(), inventory=(), behind=(), message=""
            )
        return replace(
            fresh,
            placement=tuple(item for item in fresh.placement if item.cluster in where),
            reservations=tuple(item for item in fresh.reservations if item.cluster in where),
            inventory=left,
            behind=where,
            message=text,
        )

    fact = AuditFact(actor=run.actor, action=Outcome.APPLIED.value, agent=record.name, commit=run.commit_id)
    fact = replace(fact, message=text or f"{record.id} is gone")
    closed = journal.closed(entry, JournalPhase.DONE, at_ms=run.clock.now_ms())
    await settle(run, record, build, journal_entries=(closed,), audit=(fact,))
    return Way(outcome=Outcome.APPLIED, text=f"deleted, not on {' and '.join(where)}" if left else "deleted", reason="")
