"""Apply: a plan's changes in waves, several agents at once, under the apply lock, as a stream of events.

Decides nothing new: it executes what the plan says, checks preconditions again, and reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from reconciler.engine import journal
from reconciler.engine.change import run_change
from reconciler.engine.fleetwide import first, note_commit, reaches_commit
from reconciler.engine.follow import following
from reconciler.engine.journal import Resolution
from reconciler.engine.lapsed import lapsed, lift
from reconciler.engine.locks import Lock, apply_lock
from reconciler.engine.rollback import Way, roll_back, undo_creation
from reconciler.engine.run import Failed, Replan, Replanner, Run, Unfinished, describe
from reconciler.engine.shardlocks import Shards, shared_lock
from reconciler.engine.turns import Turns
from reconciler.engine.world import Retry, Stores
from reconciler.model.errors import OutcomeUnknown, RegistryError
from reconciler.model.events import (
    ApplyEvent,
    ApplyFinished,
    ApplyStarted,
    ChangeFinished,
    Outcome,
)
from reconciler.model.identity import AgentName
from reconciler.model.objects import Found
from reconciler.model.plan import Action, Change, Plan
from reconciler.model.registry import JournalEntry, JournalPhase, Record
from reconciler.ports import Clock

PARALLELISM = 10
WORKED = frozenset({Outcome.APPLIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How an apply is run.

    `actor` and `holder` name who does it, for the audit and for whoever meets the lock. `timeout_s` bounds each
    rollout instead of what its agent says. `spends` is the digest of the saved plan that this is, if it is one.
    """

    actor: str
    holder: str
    parallelism: int = PARALLELISM
    timeout_s: float | None = None
    lock_wait_s: float = 0.0
    on_wait: Callable[[str], None] | None = None
    retry: Retry = field(default_factory=Retry)
    spends: str = ""


async def apply(
    plan: Plan,
    stores: Stores,
    clock: Clock,
    *,
    options: ApplyOptions,
    replan: Replanner,
    stop: asyncio.Event,
) -> AsyncGenerator[ApplyEvent, None]:
    """Do a plan, and tell of it while it goes on. The last event is ApplyFinished, always, unless this raises.

    When `stop` is set no further operation starts; those under way write down where they are. Raises LockHeld before
    anything is done, LockLost, and RegistryError when the registry cannot be reached at the start.
    """

    async def work(emit: Callable[[ApplyEvent], None]) -> None:
        if await nothing_to_do(plan, stores, options):
            emit(ApplyStarted(total=0))
            emit(ApplyFinished(applied=0, failed=0, skipped=0, duration_ms=0, sequence=0))
            return
        async with locked(
            stores, clock, fleet=plan.fleet, commit=plan.revision.commit, options=options, stop=stop, emit=emit
        ) as run:
            run.replan = replan
            await _apply(run, plan, options)

    events = told(work, stop)
    async with aclosing(events):
        async for event in events:
            yield event


async def told(
    work: Callable[[Callable[[ApplyEvent], None]], Coroutine[None, None, None]], stop: asyncio.Event
) -> AsyncGenerator[ApplyEvent, None]:
    """Do `work`, and tell what it emits while it goes on; it is stopped and ended when the reader goes away."""
    events: asyncio.Queue[ApplyEvent | None] = asyncio.Queue()

    async def whole() -> None:
        try:
            await work(events.put_nowait)
        finally:
            events.put_nowait(None)

    task = asyncio.create_task(whole())
    try:
        while (event := await events.get()) is not None:
            yield event
        await task
    finally:
        if not task.done():  # the reader went away: stop as if asked to, and leave nothing running
            stop.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def locked(
    stores: Stores,
    clock: Clock,
    *,
    fleet: str,
    commit: str,
    options: ApplyOptions,
    stop: asyncio.Event,
    emit: Callable[[ApplyEvent], None],
    shards: Shards | None = None,
) -> AsyncIterator[Run]:
    """A run under the apply lock, which plans nothing again; with `shards` it is held together with others.

    Raises LockHeld, RegistryError.
    """

    async def never(_name: AgentName) -> None:
        return None

    holding: AbstractAsyncContextManager[Lock]
    if shards is not None:
        holding = shared_lock(stores.registry, clock, shards)
    else:
        holding = apply_lock(
            stores.registry, clock, holder=options.holder, wait_s=options.lock_wait_s, on_wait=options.on_wait
        )
    async with holding as lock:
        yield Run(
            registry=stores.registry,
            clusters=stores.clusters,
            clock=clock,
            lock=lock,
            retry=options.retry,
            actor=options.actor,
            id=stores.registry.new_id(),
            fleet=fleet,
            commit_id=commit,
            stop=stop,
            emit=emit,
            replan=never,
            timeout_s=options.timeout_s,
            patience=stores.patience,
        )


async def nothing_to_do(
    plan: Plan,
    stores: Stores,
    options: ApplyOptions,
    *,
    shards: Shards | None = None,
    spare: Collection[AgentName] = (),
) -> bool:
    """Whether a pass would write nothing: then it does not even take the lock. With `shards` it is theirs alone.

    What is open of agents to `spare` is not gone on with now.
    """
    if plan.changes or options.spends or plan.policy.accept_clusters or plan.policy.forget_clusters:
        return False
    match await stores.registry.snapshot():
        case Found(value=snapshot):
            known = snapshot.fleet is not None and snapshot.fleet.commit == plan.revision.commit
            if not known and reaches_commit(plan) and (shards is None or shards.speaks):
                return False
            if any(shards is None or shards.mine(record.name) for record in lapsed(plan, snapshot.records)):
                return False
            return all(
                entry.agent in spare
                or (shards is not None and not shards.mine(entry.agent))
                or _left(entry, snapshot.records.get(entry.agent))
                for entry in await stores.registry.open_journal()
            )
        case _:
            return False


def _left(entry: JournalEntry, record: Record | None) -> bool:
    """Whether an open entry stays as it is, as long as no plan has a change for its agent."""
    return journal.resolve(entry, record=record, planned=False) is Resolution.LEAVE


async def _apply(run: Run, plan: Plan, options: ApplyOptions) -> None:
    started = run.clock.monotonic()
    run.emit(ApplyStarted(total=len(plan.changes)))
    await first(run, plan, spends=options.spends)
    resolved = await _resolve_open(run, plan)
    async with following(run, plan.changes):
        finished = await _waves(run, plan.changes, options.parallelism)
    interrupted = run.stop.is_set()
    if not interrupted:
        await note_commit(run, plan)
        await lift(run, plan)
    outcomes = [item.outcome for item in (*resolved, *finished)]
    skipped = sum(outcome in (Outcome.SKIPPED, Outcome.SUPERSEDED) for outcome in outcomes)
    applied = sum(outcome in WORKED for outcome in outcomes)
    run.emit(
        ApplyFinished(
            applied=applied,
            failed=len(outcomes) - applied - skipped,
            skipped=skipped,
            duration_ms=round((run.clock.monotonic() - started) * 1000),
            sequence=run.sequence,
            interrupted=interrupted,
        )
    )


async def _resolve_open(run: Run, plan: Plan) -> list[ChangeFinished]:
    """What an earlier run left open: handed to the changes of this plan, gone on with, or closed."""
    finished = [await conclude(run, entry, back(run)) for entry, back in await open_ways(run, plan)]
    for event in finished:
        run.emit(event)
    return finished


Back = Callable[[Run], Awaitable[Way]]
"""A way back that an earlier run left open, to be gone in a run."""


async def open_ways(
    run: Run, plan: Plan, *, spare: Collection[AgentName] = (), mine: Callable[[AgentName], bool] = lambda _name: True
) -> list[tuple[JournalEntry, Back]]:
    """Ways back that are to be gone to their end. Other open entries are handed to the changes of `plan`, or closed.

    Those of agents to `spare`, or that are not `mine`, are somebody's who is at work. None is gone when the run was
    asked to stop.
    """
    planned = {change.name for change in plan.changes}
    ways: list[tuple[JournalEntry, Back]] = []
    for entry in await run.registry.open_journal():
        if entry.agent in spare or not mine(entry.agent):
            continue
        record = await run.read(entry.agent)
        match journal.resolve(entry, record=record, planned=entry.agent in planned):
            case Resolution.SUPERSEDE:
                run.open_entries[entry.agent] = (*run.open_entries.get(entry.agent, ()), entry)
            case Resolution.CLOSE:
                own = replace(run, lock=run.lock.of(entry.agent))
                await own.commit(journal=(journal.closed(entry, JournalPhase.UNDONE, at_ms=run.clock.now_ms()),))
            case Resolution.ROLL_BACK | Resolution.UNDO as which if record is not None and not run.stop.is_set():
                back = roll_back if which is Resolution.ROLL_BACK else undo_creation
                ways.append((entry, partial(_gone_back, back, record, entry)))
            case _:
                pass  # held or not a target: it stays on record
    return ways


def _gone_back(
    back: Callable[[Run, Record, JournalEntry], Awaitable[Way]], record: Record, entry: JournalEntry, run: Run
) -> Awaitable[Way]:
    return back(run, record, entry)


async def conclude(run: Run, entry: JournalEntry, going_back: Awaitable[Way]) -> ChangeFinished:
    """Go back to the end, and tell how it ended; what went wrong is in the answer. Raises LockLost."""
    started = run.clock.monotonic()
    try:
        way = await going_back
    except (Unfinished, Failed, Replan, RegistryError, OutcomeUnknown) as error:
        way = Way(outcome=Outcome.FAILED, text="not finished", reason=describe(error))
    return ChangeFinished(
        agent=entry.agent,
        action=Action(entry.action),
        outcome=way.outcome,
        text=way.text,
        ready=way.ready,
        wanted=way.wanted,
        duration_ms=round((run.clock.monotonic() - started) * 1000),
        reason=way.reason,
    )


async def _waves(run: Run, changes: Sequence[Change], parallelism: int) -> list[ChangeFinished]:
    """All changes, in the order of the plan: one wave after another, agents of a wave at once, deletes last."""
    turns = Turns(parallelism)
    results: dict[AgentName, asyncio.Task[ChangeFinished]] = {}
    for _wave, group in groupby(changes, key=lambda change: (change.action is Action.DELETE, change.wave)):
        tasks: list[asyncio.Task[ChangeFinished]] = []
        for change in group:
            # only what stands earlier in the plan is waited for, so nothing can wait in a circle
            before = {name: results[name] for name in change.after if name in results}
            task = asyncio.create_task(_one(run, change, before, turns))
            results[change.name] = task
            tasks.append(task)
        await _all(tasks)
    return [task.result() for task in results.values()]


async def _all(tasks: Iterable[asyncio.Task[ChangeFinished]]) -> None:
    """Wait for all; when one raises (the lock was lost), end the others before saying so."""
    pending = list(tasks)
    try:
        await asyncio.gather(*pending)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _one(
    run: Run, change: Change, before: Mapping[AgentName, asyncio.Task[ChangeFinished]], turns: Turns
) -> ChangeFinished:
    finished = await _after(run, change, before, turns)
    run.emit(finished)
    return finished


async def _after(
    run: Run, change: Change, before: Mapping[AgentName, asyncio.Task[ChangeFinished]], turns: Turns
) -> ChangeFinished:
    for name, task in sorted(before.items()):
        done = await task
        if done.outcome not in WORKED:
            return skip(change, f"it waits for {name}, which was {_WORDS[done.outcome]}")
    async with turns.one() as turn:
        if run.stop.is_set():
            return skip(change, "the run was asked to stop before it began")
        if too_late(run, change):
            return skip(change, "its change window has closed")
        return await run_change(run, change, turn)


_WORDS: Mapping[Outcome, str] = {
    Outcome.APPLIED: "applied",
    Outcome.FAILED: "not brought up",
    Outcome.ROLLED_BACK: "rolled back",
    Outcome.UNDONE: "taken back",
    Outcome.SKIPPED: "skipped",
    Outcome.SUPERSEDED: "overtaken by a newer commit",
}


def too_late(run: Run, change: Change) -> bool:
    """Whether the window has closed that a change was to go out in."""
    return 0 < change.until_ms <= run.clock.now_ms()


def skip(change: Change, reason: str) -> ChangeFinished:
    """How a change ends that never began."""
    return ChangeFinished(
        agent=change.name,
        action=change.action,
        outcome=Outcome.SKIPPED,
        text="skipped",
        ready=0,
        wanted=0,
        duration_ms=0,
        reason=reason,
    )
