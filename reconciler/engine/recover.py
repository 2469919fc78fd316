"""One remedy of one agent, under the apply lock: intent, effects on its pods, outcome.

Decides nothing that health.ladder has not decided, but for what only shows here: which pods it is about. It leaves no
drift: pods go, and what the cluster makes of the same Deployment comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.engine import journal
from reconciler.engine.ailing import (
    Complaint,
    Ward,
    complaint,
    floor_of,
    is_made_by,
    is_ready,
    may_end,
    together_with,
    told,
    ward,
)
from reconciler.engine.effects import is_ours, look, remove
from reconciler.engine.locks import LockLost
from reconciler.engine.observe import ask_who
from reconciler.engine.operate import go_back
from reconciler.engine.pods import trouble
from reconciler.engine.rollout import pod_scope
from reconciler.engine.run import Failed, OutOfReach, Replan, Run, Unfinished, describe
from reconciler.engine.settle import settle
from reconciler.engine.sweep import sweep
from reconciler.engine.world import Stores, World
from reconciler.health.ladder import ACTS, ended, sequence
from reconciler.model.agent import Agent, Remedy
from reconciler.model.errors import OutcomeUnknown, ReconcilerError, RegistryError, UsageError
from reconciler.model.events import Outcome
from reconciler.model.fleet import FleetSpec
from reconciler.model.health import Assessment
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import Found, Unreadable
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
from reconciler.model.source import JsonObject
from reconciler.plan.guard import strangers
from reconciler.ports import Cluster, Prober

ACTION = "recover"
POLL_S = 0.2
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
            how, text = await _reprobe(run, means, given)
            return await _write_end(run, means, given, fresh, None, how, text)
        record, entry = await _begin(run, given, fresh)
    except (RegistryError, OutcomeUnknown) as error:
        return Treated(how=Ended.FAILED, text=f"nothing was done: {describe(error)}")
    how, text = await _done(run, means, given)
    try:
        return await _write_end(run, means, given, record, entry, how, text)
    except (RegistryError, OutcomeUnknown) as error:
        return Treated(how=how, text=f"{text}; that could not be written down: {describe(error)}")


async def note(run: Run, record: Record, state: RecoveryState, *, text: str = "") -> Record | None:
    """Write a record's state of recovery with no remedy; None where the record is not as it was decided on any more.

    `text` is for the audit, where that is a step. An agent that is healthy again runs.
    """
    fresh = await run.read(record.name)
    if fresh is None or fresh.version != record.version:
        return None
    last = fresh.recovery.taken[-1].text if fresh.recovery and fresh.recovery.taken else ""
    mended = bool(state.well_ms) and fresh.state is AgentState.DEGRADED and fresh.message == last

    def build(latest: Record) -> Record:
        made = replace(latest, recovery=state)
        return replace(made, state=AgentState.RUNNING, message="") if mended else made

    facts = (_fact(run, record, text),) if text else ()
    return await settle(run, fresh, build, audit=facts)


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


async def _done(run: Run, means: Means, given: Treatment) -> tuple[Ended, str]:
    """Do it. Raises LockLost."""
    try:
        match given.taken.remedy:
            case Remedy.ROLLBACK:
                return await _roll_back(run, means, given)
            case remedy:
                return await _renew(run, means, given, whole_nodes=remedy is Remedy.RESCHEDULE)
    except LockLost:
        raise
    except UsageError as error:
        return Ended.NOTHING, error.message
    except Unfinished as error:
        return (Ended.INTERRUPTED if run.stop.is_set() else Ended.FAILED), error.message
    except (Failed, Replan, ReconcilerError) as error:
        return Ended.FAILED, describe(error)


async def _write_end(
    run: Run, means: Means, given: Treatment, record: Record, entry: JournalEntry | None, how: Ended, text: str
) -> Treated:
    now, taken = run.clock.now_ms(), given.taken
    spec = given.agent.spec.recovery
    state = ended(given.state, spec, how, text, at_ms=now, chance=means.chance())
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

    def build(fresh: Record) -> Record:
        held = Quarantine(spec_hash=given.agent.spec_hash, since_ms=now, reason=text)
        return replace(fresh, state=AgentState.QUARANTINED, quarantine=held, recovery=state, message=text)

    made = await settle(run, record, build, audit=(_fact(run, record, f"{Remedy.QUARANTINE}: {text}"),))
    return Treated(how=Ended.DONE, text=text, record=made)


async def _measured(run: Run, means: Means, given: Treatment) -> Assessment:
    name = given.agent.name
    found = await sweep(means.stores, {name: given.agent}, means.prober, run.clock, previous={}, at_once=True)
    return found.assessments[name]


async def _reprobe(run: Run, means: Means, given: Treatment) -> tuple[Ended, str]:
    found = await _measured(run, means, given)
    if found.is_healthy:
        return Ended.DONE, "it is healthy at another look"
    ill = "; ".join(check.text for check in found.checks if check.critical and check.failures)
    return Ended.DONE, f"it is unhealthy at another look too: {ill or 'it cannot be measured'}"


async def _roll_back(run: Run, means: Means, given: Treatment) -> tuple[Ended, str]:
    why = f"unhealthy, and rolled back: {given.taken.because}"
    event = await go_back(run, means.world, means.stores, means.fleet, given.agent.name, why=why)
    if event.outcome is Outcome.APPLIED:
        return Ended.DONE, event.text
    return (Ended.INTERRUPTED if run.stop.is_set() else Ended.FAILED), event.reason or event.text


async def _renew(run: Run, means: Means, given: Treatment, *, whole_nodes: bool) -> tuple[Ended, str]:
    """Have the cluster make pods anew: the unwell ones, or all on the nodes that have unwell ones.

    A last look comes first. A pod that its cluster starts again and again is left to it by a restart.
    """
    found = await _measured(run, means, given)
    if found.is_healthy:
        return Ended.NOTHING, "it is healthy at another look, so nothing was done"
    said, texts, away, left = complaint(found), [], [], 0
    for item in given.record.inventory:
        if item.ref.kind != "Deployment":
            continue
        try:
            await _same_cluster(run, means, item.cluster)
            one = _Patient(run=run, given=given, cluster=run.reach(item.cluster), deployment=item.ref, said=said)
            gone, restarting = await one.renew(whole_nodes=whole_nodes)
        except OutOfReach as error:  # which holds up no other
            away.append(error.message)
            continue
        left += restarting
        if gone:
            texts.append(f"{_pods(gone)} started anew on {item.cluster} ({told(gone)})")
    if texts or away:
        return Ended.DONE if texts else Ended.FAILED, "; ".join((*texts, *away))
    if left:
        return Ended.NOTHING, f"its cluster starts it again by itself ({left} pods), which does not help"
    return Ended.NOTHING, "no pod of it is unwell that may end now"


def _pods(refs: Sequence[ObjectRef]) -> str:
    return f"{len(refs)} pod{'s' if len(refs) > 1 else ''}"


async def _same_cluster(run: Run, means: Means, name: str) -> None:
    """Raises Unfinished where nobody answers, Failed where another cluster does than the one on record."""
    who = await ask_who(run.reach(name), run.patience)
    if not isinstance(who, Found):
        raise run.lose(name, who.reason if isinstance(who, Unreadable) else "it is nobody")
    if other := strangers({name: who}, means.known).get(name):
        raise Failed(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patient:
    """The pods of one agent on one cluster."""

    run: Run
    given: Treatment
    cluster: Cluster
    deployment: ObjectRef
    said: Complaint

    async def renew(self, *, whole_nodes: bool) -> tuple[list[ObjectRef], int]:
        """Delete pods, each batch once the one before has been replaced; who went, and how many are the cluster's own.

        Raises Failed when what comes does not become ready, Unfinished when it is stopped or the cluster is silent.
        """
        run = self.run
        live = await look(run, self.cluster, self.deployment)
        if live is None or not is_ours(live, run.fleet):
            return [], 0  # the next plan says what is to be done about that
        found = self._sorted(await self._pods(live.body), live.body)
        todo = [ref for ref in found.unwell if ref not in found.restarting]
        if whole_nodes and found.unwell:
            todo = list(together_with(found))
        before = {str(pod["metadata"]["uid"]) for pod in found.pods.values()}
        uids = {ref: str(pod["metadata"]["uid"]) for ref, pod in found.pods.items()}
        floor = floor_of(self.given.agent.spec, int(live.body.get("spec", {}).get("replicas", 1)))
        gone: list[ObjectRef] = []
        while batch := may_end(todo, found.serving, floor):
            if run.stop.is_set():
                raise Unfinished(f"stopped after {_pods(gone) if gone else 'nothing'}")
            for ref in batch:
                await remove(run, self.cluster.name, ref, uid=uids[ref])
                gone.append(ref)
            todo = [ref for ref in todo if ref not in gone]
            found = await self._replaced(live.body, before, len(gone))
        return gone, len(found.restarting - set(gone))

    def _sorted(self, pods: Mapping[ObjectRef, JsonObject], deployment: JsonObject) -> Ward:
        health = self.given.agent.spec.health
        before = health.failure_threshold * health.interval.ms  # it takes so long to be called unhealthy
        return ward(pods, deployment, self.said, since_ms=self.given.state.since_ms - before)

    async def _pods(self, deployment: JsonObject) -> Mapping[ObjectRef, JsonObject]:
        """Raises Unfinished where they cannot be read: what is not seen is not judged."""
        scope = pod_scope(deployment)
        if scope is None:
            return {}
        match await self.run.look(self.cluster, scope):
            case Found(value=seen) if not seen.unreadable:
                return {ref: item.body for ref, item in seen.objects.items()}
            case Unreadable(reason=reason):
                raise Unfinished(f"its pods on {self.cluster.name} cannot be read: {reason}")
            case _:
                raise Unfinished(f"its pods on {self.cluster.name} cannot be read whole")

    async def _replaced(self, deployment: JsonObject, before: set[str], wanted: int) -> Ward:
        """Wait until as many new pods are ready as went."""
        run = self.run
        timeout = run.timeout_s if run.timeout_s is not None else self.given.agent.spec.rollout.timeout.seconds
        until = run.clock.monotonic() + timeout
        while True:
            pods = await self._pods(deployment)
            new = [p for p in pods.values() if is_made_by(p, deployment) and p["metadata"]["uid"] not in before]
            if sum(map(is_ready, new)) >= wanted:
                return self._sorted(pods, deployment)
            for pod in new:
                if (why := trouble(pod)) is not None and why.fatal:
                    raise Failed(f"the pod that came does not come up: {why.pod}: {why.text}")
            if run.stop.is_set():
                raise Unfinished("stopped while its new pods came up")
            if run.clock.monotonic() >= until:
                raise Failed(f"{wanted} pods went, and what came is not ready after {timeout:g} s")
            await run.lock.keep()
            await run.clock.sleep(POLL_S)
