"""One remedy of one agent, under the apply lock: intent, effects on its pods, outcome.

Decides nothing that health.ladder has not decided, but for what only shows here: which pods it is about. It leaves no
drift: pods go, and what the cluster makes of the same Deployment comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from reconciler.engine import journal
from reconciler.engine.ailing import Complaint, complaint, told
from reconciler.engine.locks import LockLost
from reconciler.engine.observe import ask_who, observe
from reconciler.engine.operate import go_back
from reconciler.engine.renew import Patient, count, patient
from reconciler.engine.run import Failed, OutOfReach, Replan, Run, Unfinished, describe
from reconciler.engine.settle import settle
from reconciler.engine.sweep import sweep
from reconciler.engine.world import Stores, World
from reconciler.health.ladder import ACTS, ended, sequence
from reconciler.model.agent import Agent, PlacementPolicy, Remedy
from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryError, UsageError
from reconciler.model.events import Outcome
from reconciler.model.fleet import FleetSpec
from reconciler.model.health import Assessment
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Found, Scope, Unreadable
from reconciler.model.recovery import Ended, RecoveryState, Taken
from reconciler.model.registry import (
    AgentState,
    AuditFact,
    FleetRecord,
    JournalEntry,
    JournalPhase,
    Quarantine,
    Record,
)
from reconciler.placement import PlacementRequest, place
from reconciler.placement.policies import selected
from reconciler.placement.shares import Share, shares
from reconciler.plan.guard import strangers
from reconciler.ports import Prober

ACTION = "recover"
PHASES: Mapping[Ended, JournalPhase] = {
    Ended.DONE: JournalPhase.DONE,
    Ended.NOTHING: JournalPhase.DONE,
    Ended.FAILED: JournalPhase.FAILED,
    Ended.INTERRUPTED: JournalPhase.UNDONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What remedies are done with. `known` is the fleet on record, with who its clusters are; `chance` gives jitter."""

    world: World
    stores: Stores
    fleet: FleetSpec
    prober: Prober
    known: FleetRecord | None
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """An agent as it is declared and as it was on record when its next remedy was decided on, which is under way in
    `state`.
    """

    agent: Agent
    record: Record
    state: RecoveryState

    @property
    def taken(self) -> Taken:
        return self.state.taken[-1]

    @property
    def where(self) -> str:
        """`2 of 5`."""
        return f"{self.state.step} of {len(sequence(self.agent.spec.recovery))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """What a remedy did. `avoid` are clusters that the agent is to leave."""

    how: Ended
    text: str
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Treated:
    """How it went, for people and measures. `record` is what was written last; None: nothing was done nor written."""

    how: Ended
    text: str
    record: Record | None = None


async def treat(run: Run, means: Means, given: Treatment) -> Treated:
    """Do one remedy to its end. Raises LockLost; every other failure is in the answer, and on record."""
    name = given.agent.name
    try:
        fresh = await run.read(name)
        if fresh is None or fresh.version != given.record.version:
            return Treated(how=Ended.NOTHING, text="its record was written since: it is judged again")
        if given.taken.remedy is Remedy.QUARANTINE:
            return await _quarantine(run, means, given, fresh)
        if given.taken.remedy is Remedy.REPROBE:
            return await _write_end(run, means, given, fresh, None, await _done(run, means, given))
        record, entry = await _begin(run, given, fresh)
    except (RegistryError, OutcomeUnknown) as error:
        return Treated(how=Ended.FAILED, text=f"nothing was done: {describe(error)}")
    did = await _done(run, means, given)
    try:
        return await _write_end(run, means, given, record, entry, did)
    except (RegistryError, OutcomeUnknown) as error:
        return Treated(how=did.how, text=f"{did.text}; that could not be written down: {describe(error)}")


async def note(run: Run, record: Record, state: RecoveryState, *, text: str = "", runs: bool = False) -> Record | None:
    """Write a record's state of recovery with no remedy; None where the record is not as it was decided on any more.

    `text` is for the audit, where that is a step. Where it `runs`, a record that says degraded does so no longer.
    """
    fresh = await run.read(record.name)
    if fresh is None or fresh.version != record.version:
        return None
    mended = runs and fresh.state is AgentState.DEGRADED
    left = fresh.state is AgentState.RECOVERING and state.under_way is None and not await _goes_back(run, fresh)

    def build(latest: Record) -> Record | None:
        if not _as_decided_on(latest, record):
            return None
        made = replace(latest, recovery=state)
        if left:  # no plan may ever go on with it: of a spec that is quarantined none has a change
            return _back_to_work(made, state.taken[-1].text if state.taken else "")
        return replace(made, state=AgentState.RUNNING, message="") if mended else made

    facts = (_fact(run, record, text),) if text else ()
    return await settle(run, fresh, build, audit=facts)


async def _goes_back(run: Run, record: Record) -> bool:
    """Whether an agent is on a way back that the next plan goes on with."""
    opened = await run.registry.open_journal()
    return any(item.agent == record.name and journal.step_of(item) is not journal.Step.FORWARD for item in opened)


def _fact(run: Run, record: Record, message: str) -> AuditFact:
    return AuditFact(actor=run.actor, action=ACTION, agent=record.name, commit=record.commit, message=message)


async def _begin(run: Run, given: Treatment, record: Record) -> tuple[Record, JournalEntry | None]:
    """Write the intent. A rollback writes its own entry, and from when on the agent is recovering."""
    taken = given.taken
    message = f"{taken.remedy} ({given.where}): {taken.because}"
    restarts = taken.remedy is not Remedy.ROLLBACK
    entry = journal.remedied(record, taken.remedy, because=taken.because, at_ms=taken.at_ms) if restarts else None

    def build(fresh: Record) -> Record:
        made = replace(fresh, recovery=given.state)
        return replace(made, state=AgentState.RECOVERING, message=message) if restarts else made

    entries = (entry,) if entry is not None else ()
    made = await settle(run, record, build, journal_entries=entries, audit=(_fact(run, record, message),))
    return made, entry


async def _done(run: Run, means: Means, given: Treatment) -> Did:
    """Do it. Raises LockLost."""
    try:
        match given.taken.remedy:
            case Remedy.REPROBE:
                return await _reprobe(run, means, given)
            case Remedy.ROLLBACK:
                return await _roll_back(run, means, given)
            case remedy:
                return await _renew(run, means, given, far=remedy is Remedy.RESCHEDULE)
    except LockLost:
        raise
    except UsageError as error:
        return Did(how=Ended.NOTHING, text=error.message)
    except Unfinished as error:
        return Did(how=Ended.INTERRUPTED if run.stop.is_set() else Ended.FAILED, text=error.message)
    except (Failed, Replan, ReconcilerError) as error:
        return Did(how=Ended.FAILED, text=describe(error))


async def _write_end(
    run: Run, means: Means, given: Treatment, record: Record, entry: JournalEntry | None, did: Did
) -> Treated:
    now, taken, how, text = run.clock.now_ms(), given.taken, did.how, did.text
    state = ended(given.state, given.agent.spec.recovery, how, text, at_ms=now, chance=means.chance())
    state = replace(state, avoid=did.avoid or state.avoid)
    begun = taken.remedy in ACTS

    def build(fresh: Record) -> Record:
        if begun and fresh.recovery != given.state:
            return _back_to_work(fresh, text)  # somebody resumed it meanwhile: nothing is counted any more
        return _back_to_work(replace(fresh, recovery=replace(state, spec_hash=fresh.spec_hash)), text)

    closed = (journal.closed(entry, PHASES[how], at_ms=now),) if entry is not None else ()
    fact = _fact(run, record, f"{taken.remedy}: {text}")
    if taken.remedy is Remedy.ROLLBACK:  # which has written the record since
        record = await run.read(record.name) or record
    return Treated(how=how, text=text, record=await settle(run, record, build, journal_entries=closed, audit=(fact,)))


def _back_to_work(record: Record, text: str) -> Record:
    """Whether it is well is not known yet. A rollback says itself how the agent is."""
    going = record.recovery is not None and record.recovery.taken and record.recovery.taken[-1].remedy
    if record.state is AgentState.RECOVERING and going is not Remedy.ROLLBACK:
        return replace(record, state=AgentState.DEGRADED, message=text)
    return record


async def _quarantine(run: Run, means: Means, given: Treatment, record: Record) -> Treated:
    """Nothing is tried any more until the spec changes, or by hand. What runs is left running."""
    now = run.clock.now_ms()
    back = record.quarantine is not None
    lead = "the revision that it went back to is unhealthy too" if back else "it stayed unhealthy"
    text = f"{lead} after {given.where} remedies: {given.taken.because}"
    state = ended(given.state, given.agent.spec.recovery, Ended.DONE, text, at_ms=now, chance=means.chance())

    def build(fresh: Record) -> Record | None:
        if not _as_decided_on(fresh, record):
            return None
        held = Quarantine(spec_hash=given.agent.spec_hash, since_ms=now, reason=text)
        return replace(fresh, state=AgentState.QUARANTINED, quarantine=held, recovery=state, message=text)

    made = await settle(run, record, build, audit=(_fact(run, record, f"{Remedy.QUARANTINE}: {text}"),))
    if made.recovery != state:
        text = "somebody resumed it meanwhile"
    return Treated(how=Ended.DONE, text=text, record=made)


def _as_decided_on(latest: Record, record: Record) -> bool:
    """Whether nobody has meanwhile resumed an agent, or quarantined it: a count by hand changes nothing for it."""
    return (latest.recovery, latest.quarantine) == (record.recovery, record.quarantine)


async def _measured(run: Run, means: Means, given: Treatment) -> Assessment:
    name = given.agent.name
    found = await sweep(
        means.stores,
        {name: given.agent},
        means.prober,
        run.clock,
        previous={},
        records={name: given.record},
        at_once=True,
    )
    return found.assessments[name]


async def _reprobe(run: Run, means: Means, given: Treatment) -> Did:
    found = await _measured(run, means, given)
    if found.is_healthy:
        return Did(how=Ended.DONE, text="it is healthy at another look")
    ill = "; ".join(check.text for check in found.checks if check.critical and check.failures)
    return Did(how=Ended.DONE, text=f"it is unhealthy at another look too: {ill or 'it cannot be measured'}")


async def _roll_back(run: Run, means: Means, given: Treatment) -> Did:
    why = f"unhealthy, and rolled back: {given.taken.because}"
    event = await go_back(run, means.world, means.stores, means.fleet, given.agent.name, why=why)
    if event.outcome is Outcome.APPLIED:
        return Did(how=Ended.DONE, text=event.text)
    how = Ended.INTERRUPTED if run.stop.is_set() else Ended.FAILED
    return Did(how=how, text=event.reason or event.text)


async def _renew(run: Run, means: Means, given: Treatment, *, far: bool) -> Did:
    """Have the cluster make pods anew: the unwell ones, or if `far` leave a cluster with unwell ones for another, and
    where that cannot be make all anew on the nodes that have unwell ones.

    A last look comes first. A pod that its cluster starts again and again is left to it by a restart.
    """
    found = await _measured(run, means, given)
    if found.is_healthy:
        return Did(how=Ended.NOTHING, text="it is healthy at another look, so nothing was done")
    patients, away = await _patients(run, means, given, complaint(found))
    bad = {one.cluster.name for one in patients if await one.ails()} if far else set()
    if bad and (where := await _elsewhere(means, given, bad)):
        text = f"it leaves {' and '.join(sorted(bad))} for {' and '.join(where)}"
        return Did(how=Ended.DONE, text=text, avoid=tuple(sorted(bad.union(given.state.avoid))))
    texts: list[str] = []
    starting: set[ObjectRef] = set()
    restarting: set[ObjectRef] = set()
    for one in patients:
        try:
            gone, after = await one.renew(whole_nodes=far)
        except OutOfReach as error:  # which holds up no other
            away.append(error.message)
            continue
        starting |= after.starting
        restarting |= after.restarting
        if gone:
            texts.append(f"{count(gone)} started anew on {one.cluster.name} ({told(gone)})")
    if texts or away:
        return Did(how=Ended.DONE if texts else Ended.FAILED, text="; ".join((*texts, *away)))
    if restarting:
        text = f"its cluster starts it again by itself ({count([*restarting])}), which does not help"
        return Did(how=Ended.NOTHING, text=text)
    if starting:
        return Did(how=Ended.NOTHING, text=f"{count([*starting])} of it may become ready yet")
    return Did(how=Ended.NOTHING, text="no pod of it is unwell that may end now")


async def _patients(run: Run, means: Means, given: Treatment, said: Complaint) -> tuple[list[Patient], list[str]]:
    """The agent's pods by cluster, and why some cannot be reached."""
    found, away = [], []
    spec = given.agent.spec
    parts = shares(spec.placement, given.record.placement)
    for item in given.record.inventory:
        if item.ref.kind != "Deployment":
            continue
        try:
            await _same_cluster(run, means, item.cluster)
            cluster, since = run.reach(item.cluster), given.state.since_ms
            share = parts.get(item.cluster, Share.alone(0))  # one that it left: nothing is divided
            one = await patient(run, spec, share, cluster, item.ref, said, since_ms=since)
        except OutOfReach as error:
            away.append(error.message)
            continue
        found += [one] if one is not None else []
    return found, away


async def _same_cluster(run: Run, means: Means, name: str) -> None:
    """Raises Unfinished where nobody answers, Failed where another cluster does than the one on record."""
    who = await ask_who(run.reach(name), run.patience)
    if not isinstance(who, Found):
        raise run.lose(name, who.reason if isinstance(who, Unreadable) else "it is nobody")
    if other := strangers({name: who}, means.known).get(name):
        raise Failed(other)


async def _elsewhere(means: Means, given: Treatment, bad: Collection[str]) -> tuple[str, ...]:
    """Where the agent runs once it leaves `bad` clusters; nowhere where its placement allows no other with room.

    To those that it left before it does not return.
    """
    agent, record = given.agent, given.record
    rule, avoid = agent.spec.placement, {*bad, *given.state.avoid}
    others = {cluster.name for cluster in selected(rule.clusters, means.fleet.clusters)} - avoid
    if rule.policy is PlacementPolicy.ALL or not others:
        return ()
    observed = await observe(means.stores, Scope(kinds=(), namespaces=frozenset({agent.name.namespace})))
    if not isinstance(observed.registry, Found):
        return ()
    leaving = replace(record, recovery=replace(given.state, avoid=tuple(sorted(avoid))))
    placed = place(
        PlacementRequest(
            agents={agent.name: agent},
            clusters=means.fleet.clusters,
            capacities=observed.capacities,
            records={**observed.registry.value.records, agent.name: leaving},
            quotas=means.fleet.quotas,
            now_ms=means.world.clock.now_ms(),
        )
    )
    where = tuple(item.cluster for item in placed.placed.get(agent.name, ()) if item.replicas)
    known = all(isinstance(observed.identities.get(name), Found) for name in where)
    return where if known and not placed.holds and not avoid.intersection(where) else ()
