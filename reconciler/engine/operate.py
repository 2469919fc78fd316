"""What people do by hand: suspend, resume, scale for a while; and going back to an earlier revision.

The wishes touch no cluster: a record says what is wished, and plan and apply bring it about, as they do for Git. Only a
rollback acts at once, under the apply lock, on the way that a failed change takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from reconciler.engine.apply import ApplyOptions, conclude, locked, told
from reconciler.engine.exports import Exports
from reconciler.engine.observe import observe
from reconciler.engine.outcome import FAILED, READY
from reconciler.engine.rollback import Goal, roll_back, turn_by_hand
from reconciler.engine.run import Run, repeat_commit
from reconciler.engine.world import Retry, Stores, World
from reconciler.model.agent import Agent
from reconciler.model.errors import ReconcilerError, RegistryConflict, RegistryError, UsageError
from reconciler.model.events import ApplyEvent, ApplyFinished, ApplyStarted, ChangeFinished, ChangeStarted, Outcome
from reconciler.model.fleet import FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Scope, Unreadable
from reconciler.model.plan import Action
from reconciler.model.registry import (
    AgentRevision,
    AgentState,
    AuditFact,
    FleetRecord,
    Good,
    Record,
    ScaleOverride,
    Write,
)
from reconciler.placement import PlacementRequest, place
from reconciler.plan import guard
from reconciler.ports import Clock, Registry
from reconciler.render.render import render
from reconciler.spec import read_fleet

T = TypeVar("T")

CONFLICTS = 5
MAX_REPLICAS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Who writes, where, and how calls are tried again."""

    registry: Registry
    clock: Clock
    actor: str
    retry: Retry


async def suspend(hand: Hand, name: AgentName, *, reason: str = "") -> Record:
    """Let an agent run nowhere until it is resumed. Raises UsageError when there is no such agent, RegistryError."""
    return await _write(hand, name, "suspend", reason, lambda record: replace(record, suspended=True))


async def resume(hand: Hand, name: AgentName, *, reason: str = "") -> Record:
    """End a suspension by hand, and lift a quarantine: the spec is tried again, and its remedies from the first on."""

    def build(record: Record) -> Record:
        return replace(record, suspended=False, quarantine=None, recovery=None)

    return await _write(hand, name, "resume", reason, build)


async def scale(hand: Hand, name: AgentName, replicas: int, *, for_ms: int = 0, reason: str = "") -> Record:
    """Run `replicas` for `for_ms` milliseconds, 0 until it is lifted; Git takes over again when it ends.

    Raises UsageError for an agent that an autoscaler scales, or a number that cannot be meant.
    """
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UsageError(f"{replicas} replicas cannot be meant", hint=f"give a number from 0 to {MAX_REPLICAS}")

    def build(record: Record) -> Record:
        if record.document.get("autoscaling"):
            hint = "change its `autoscaling` in Git"
            raise UsageError(f"{name} is scaled by an autoscaler, which would undo it", hint=hint)
        now = hand.clock.now_ms()
        wish = ScaleOverride(
            replicas=replicas,
            author=hand.actor,
            reason=reason,
            since_ms=now,
            until_ms=now + for_ms if for_ms else 0,
        )
        return replace(record, override=wish)

    return await _write(hand, name, "scale", reason or f"to {replicas}", build)


async def unscale(hand: Hand, name: AgentName, *, reason: str = "") -> Record:
    """Lift a scaling by hand before its end."""
    return await _write(hand, name, "unscale", reason, lambda record: replace(record, override=None))


async def rollback(
    world: World,
    name: AgentName,
    *,
    to: int | None = None,
    reason: str = "",
    options: ApplyOptions,
    stop: asyncio.Event,
    fleet: FleetSpec | None = None,
) -> AsyncGenerator[ApplyEvent, None]:
    """Return an agent to its last good revision before the present one, or to revision `to`, at once.

    The revision is read again from its commit, placed and rendered as what is wished now says (replicas by hand, a
    suspension), and brought up by the code of automatic rollbacks. The spec that is left is quarantined until it
    changes in Git or `resume`. `fleet` is the one it belongs to, None for what is checked out. Tells events as `apply`
    does: one change, APPLIED when the agent is back and ready, FAILED when it is not. It is journalled: when it stops
    in the middle the next apply goes on with it.
    Raises, before anything is done: UsageError where there is no such agent or revision, ReconcilerError where it
    cannot be read, placed or brought up now, LockHeld, RegistryError. Later LockLost.
    """
    fleet = fleet or await _fleet_here(world)
    stores = await world.stores(fleet)
    why = f"rolled back by hand by {options.actor}" + (f": {reason}" if reason else "")

    async def work(emit: Callable[[ApplyEvent], None]) -> None:
        async with locked(
            stores, world.clock, fleet=fleet.name, commit="", options=options, stop=stop, emit=emit
        ) as run:

            def begun() -> None:
                emit(ApplyStarted(total=1))
                emit(ChangeStarted(agent=name, action=Action.UPDATE))

            event = await go_back(run, world, stores, fleet, name, to=to, why=why, begun=begun)
            emit(event)
            well = event.outcome is Outcome.APPLIED
            emit(
                ApplyFinished(
                    applied=int(well),
                    failed=int(not well),
                    skipped=0,
                    duration_ms=event.duration_ms,
                    sequence=run.sequence,
                    interrupted=stop.is_set(),
                )
            )

    events = told(work, stop)
    async with aclosing(events):
        async for event in events:
            yield event


async def _fleet_here(world: World) -> FleetSpec:
    """The fleet that is checked out. Raises UsageError, SourceError."""
    declared = read_fleet(now := await world.source.revision(""), await world.source.blobs(now))
    if declared.fleet is None:
        raise UsageError("fleet.yaml cannot be used", hint="`reconciler validate` says why")
    return declared.fleet


async def go_back(
    run: Run,
    world: World,
    stores: Stores,
    fleet: FleetSpec,
    name: AgentName,
    *,
    to: int | None = None,
    why: str,
    begun: Callable[[], None] = lambda: None,
) -> ChangeFinished:
    """Return an agent to an earlier revision under the lock that a run holds; APPLIED when it is back and ready.

    `begun` is called before anything is written. Raises, before that: UsageError where there is no such agent or
    revision, ReconcilerError where it cannot be read, placed or brought up now. Later LockLost.
    """
    record = await _rolled(run, name)
    revisions = await run.registry.revisions(name)
    target = _target(record, revisions, to)
    run.commit_id = target.commit
    agent = await _as_of(world, target)
    goal = await _goal(world, stores, fleet, record, target, agent)
    begun()
    left = next((item for item in revisions if item.number == _present(record)), None)
    record, entry = await turn_by_hand(run, record, goal, reason=why, left=left)
    timeout_s = run.timeout_s if run.timeout_s is not None else agent.spec.rollout.timeout.seconds
    event = await conclude(run, entry, roll_back(run, record, entry, timeout_s=timeout_s))
    if event.outcome is Outcome.ROLLED_BACK:  # which is what was asked for
        event = replace(event, outcome=Outcome.APPLIED, reason="")
    return event


async def _rolled(run: Run, name: AgentName) -> Record:
    record = await run.read(name)
    if record is None:
        raise UsageError(f"there is no agent {name} on record", hint="`reconciler get agents -A` lists them")
    if record.state is AgentState.TERMINATING:
        raise UsageError(f"{name} is being deleted", hint="declare it in Git again to keep it")
    return record


def _present(record: Record) -> int:
    """The number of the revision that runs."""
    good = record.good
    return good.number if good is not None and good.spec_hash == record.spec_hash else record.revision


def _target(record: Record, revisions: Iterable[AgentRevision], to: int | None) -> AgentRevision:
    """The revision to go back to. Raises UsageError where there is none, or it is not one to go back to."""
    name, present = record.name, _present(record)
    history = f"`reconciler history {name}` shows its revisions"
    known = [item for item in revisions if item.number <= record.revision]
    if to is None:
        for item in sorted(known, key=lambda item: -item.number):
            if item.number < present and item.outcome == READY and item.spec_hash != record.spec_hash:
                return item
        raise UsageError(f"{name} has no good revision before the present one, {present}", hint=history)
    found = next((item for item in known if item.number == to), None)
    if found is None:
        raise UsageError(f"{name} has no revision {to}", hint=history)
    if found.spec_hash == record.spec_hash:
        raise UsageError(f"revision {to} of {name} is what runs now", hint=history)
    if found.outcome.startswith(FAILED):
        raise UsageError(f"revision {to} of {name} never became ready: {found.outcome}", hint=history)
    if record.quarantine is not None and found.spec_hash == record.quarantine.spec_hash:
        raise UsageError(f"revision {to} of {name} is quarantined", hint=f"`reconciler resume {name}` tries it again")
    return found


async def _as_of(world: World, target: AgentRevision) -> Agent:
    """The agent as its commit declares it. Raises SourceError, or ReconcilerError where it is another there."""
    revision = await world.source.revision(target.commit)
    blobs = await world.source.blobs(revision)
    declared = await asyncio.to_thread(read_fleet, revision, blobs)  # a daemon has other things to do meanwhile
    agent = declared.agents.get(target.agent)
    if agent is None or agent.spec_hash != target.spec_hash:
        raise ReconcilerError(
            f"revision {target.number} of {target.agent} cannot be made again: commit {target.commit[:7]} does not "
            "declare it as it was applied (it came from files that were not committed, or another version read them)",
            hint="revert the change in Git instead",
        )
    return agent


async def _goal(
    world: World, stores: Stores, fleet: FleetSpec, record: Record, target: AgentRevision, agent: Agent
) -> Goal:
    """Place and render what an agent goes back to. Raises ReconcilerError where a cluster cannot be had, or is full."""
    observed = await observe(stores, Scope(kinds=(), namespaces=frozenset({agent.name.namespace})))
    if not isinstance(observed.registry, Found):
        raise RegistryError("the registry cannot be read")
    snapshot = observed.registry.value
    placed = place(
        PlacementRequest(
            agents={agent.name: agent},
            clusters=fleet.clusters,
            capacities=observed.capacities,
            records=snapshot.records,
            quotas=fleet.quotas,
            now_ms=world.clock.now_ms(),
        )
    )
    for hold in placed.holds:
        raise ReconcilerError(f"{agent.name}: {hold.text}", hint=hold.lift)
    where = placed.placed[agent.name]
    strangers = guard.strangers(observed.identities, snapshot.fleet)
    away: dict[str, str] = {}
    for cluster in sorted({item.cluster for item in where} | {item.cluster for item in record.inventory}):
        seen = observed.identities.get(cluster, Unreadable(reason="it is not declared any more"))
        if cluster in strangers:
            raise ReconcilerError(strangers[cluster], hint="point it at the right cluster")
        if isinstance(seen, Unreadable):
            away[cluster] = f"{cluster} cannot be read, so nothing was done: {seen.reason}"
    if away and all(item.cluster in away for item in where):
        raise ReconcilerError("; ".join(away.values()))
    exported = Exports.by(observed.identities, fleet.clusters).of(agent, where, record)
    manifests = render(agent, where, fleet=fleet.name, exported=exported)
    good = Good(
        number=target.number,
        commit=target.commit,
        spec_hash=agent.spec_hash,
        document=agent.document,
        manifests={
            cluster: tuple(item.body for item in items) for cluster, items in manifests.items() if cluster not in away
        },
    )
    return Goal(
        good=good,
        labels=agent.labels,
        lineage=agent.lineage,
        placement=where,
        reservations=placed.reservations[agent.name],
        untouched=tuple(away),
    )


async def _write(hand: Hand, name: AgentName, action: str, reason: str, build: Callable[[Record], Record]) -> Record:
    """Read, change and write a record, again when somebody else wrote it meanwhile. Nothing to change, no write."""

    async def decide() -> tuple[Record, Write | None]:
        record = await _read(hand, name)
        made = build(record)
        if made == record:
            return record, None
        now = hand.clock.now_ms()
        made = replace(made, version=record.version + 1, updated_ms=now)
        fact = AuditFact(actor=hand.actor, action=action, agent=name, message=reason)
        return made, Write(op_id=hand.registry.new_id(), at_ms=now, records=(made,), audit=(fact,))

    return await write_decided(hand, decide)


async def write_decided(hand: Hand, decide: Callable[[], Awaitable[tuple[T, Write | None]]]) -> T:
    """Commit what `decide` reads and answers, decided anew when somebody else wrote meanwhile; answers its first part.

    No write, nothing to change. Raises what `decide` does, RegistryConflict after CONFLICTS attempts, RegistryError.
    """
    for attempt in range(CONFLICTS):
        made, write = await decide()
        if write is None:
            return made
        try:
            await repeat_commit(hand.registry, write, hand.clock, hand.retry)
        except RegistryConflict:
            if attempt + 1 == CONFLICTS:
                raise
        else:
            return made
    raise AssertionError("unreachable: the last attempt answers or raises")


async def fleet_on_record(hand: Hand, name: str) -> FleetRecord:
    """The fleet's record, a new one where there is none. Raises RegistryError."""
    match await hand.registry.snapshot():
        case Found(value=snapshot) if snapshot.fleet is not None:
            return snapshot.fleet
        case Unreadable(reason=reason):
            raise RegistryError(f"the registry cannot be read: {reason}")
        case _:
            return FleetRecord(name=name, version=0)


async def _read(hand: Hand, name: AgentName) -> Record:
    match await hand.registry.get(name):
        case Found(value=record):
            return record
        case Absent():
            raise UsageError(f"there is no agent {name} on record", hint="`reconciler get agents -A` lists them")
        case Unreadable(reason=reason):
            raise RegistryError(f"the record of {name} cannot be read: {reason}")
