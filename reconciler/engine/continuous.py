"""The work of a process that stays: the changes of plan after plan, each agent's by itself, under one apply lock.

An agent whose rollout takes long delays nobody but those that wait for it. Where a plan wants something else of an
agent that is still under way, the older change is stopped where it is, and the next plan goes on from there. Decides
nothing about agents: that is in the plans.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from reconciler.engine.apply import WORKED, ApplyOptions, Back, conclude, open_ways, skip, too_late
from reconciler.engine.change import run_change, same_aim
from reconciler.engine.fleetwide import first, note_commit
from reconciler.engine.lapsed import lift
from reconciler.engine.rollback import Way
from reconciler.engine.run import Replanner, Run, Unfinished
from reconciler.engine.shardlocks import Shards
from reconciler.engine.turns import Turns
from reconciler.model.events import ChangeFinished
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Change, Plan
from reconciler.model.registry import JournalEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is done about one agent: `change`, or None on a way back that an earlier run left open, and for what is done
    beside plans; the plan then had no change for it.

    `stop` ends this alone; it writes down where it is. `spec_hash` is what the agent stays at, beside plans.
    """

    change: Change | None
    stop: asyncio.Event
    task: asyncio.Task[ChangeFinished]
    spec_hash: str = ""

    def goes_on(self, wanted: Change) -> bool:
        """Whether what a newer plan wants lets this go on. Beside plans: that its work is finished, and no more."""
        if self.change is not None:
            return same_aim(self.change, wanted)
        same = wanted.agent is not None and wanted.agent.spec_hash == self.spec_hash
        return same and wanted.action is Action.RECOVER and not wanted.objects

    def before(self, deletes: bool, wave: int) -> bool:  # noqa: FBT001 - a part of the plan's order
        """Whether this belongs to a wave that comes before another."""
        return self.change is not None and _turn_of(self.change) < (deletes, wave)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Work that ended by what is no outcome: LockLost ends all of it. `agent` is None for what concerns the fleet."""

    agent: AgentName | None
    error: BaseException


@dataclass(slots=True, kw_only=True)
class Continuous:
    """Takes plans as they come.

    `on_end` hears of all work that ended, and by None that nothing is under way any more.
    """

    run: Run
    options: ApplyOptions
    on_end: Callable[[ChangeFinished | Broken | None], None]
    shards: Shards | None = None
    """Where there are some: agents of others are not touched, and one of them speaks for the fleet."""
    _work: dict[AgentName, _Work] = field(default_factory=dict)
    _pending: dict[AgentName, Change] = field(default_factory=dict)
    """Changes whose wave has not come yet."""
    _batches: set[asyncio.Task[None]] = field(default_factory=set)
    _fleet: asyncio.Lock = field(default_factory=asyncio.Lock)
    """For what is read and written of the fleet as a whole: plans end beside each other."""
    _turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self._turns = Turns(self.options.parallelism)

    @property
    def busy(self) -> frozenset[AgentName]:
        """Agents with work that has not ended, or has not begun because others come first."""
        return frozenset((*self._work, *self._pending))

    @property
    def pending(self) -> frozenset[AgentName]:
        """Agents whose work has not begun: whoever depends on them is not to be offered."""
        return frozenset(self._pending)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not (self._work or self._batches)

    async def offer(self, plan: Plan, replan: Replanner, *, spare: Collection[AgentName] = ()) -> None:
        """Start what `plan` changes of agents that are not under way; it is done when `idle` says so.

        Agents to `spare` are left alone for now. Of those under way that are wanted otherwise now the work is stopped;
        `on_end` tells when to plan again. Raises RegistryError when the registry cannot be reached, and LockLost:
        nothing new was started then.
        """
        run = replace(self.run, commit_id=plan.revision.commit, replan=replan, open_entries={})
        begun = replace(plan, changes=tuple(change for change in plan.changes if change.name not in spare))
        async with self._fleet:
            await self._first(run, begun)
        self._leave_what_changed(plan)
        busy = self.busy
        fresh = tuple(change for change in begun.changes if change.name not in busy)
        mine = self.shards.mine if self.shards is not None else _everybody
        for entry, back in await open_ways(run, replace(plan, changes=fresh), spare={*busy, *spare}, mine=mine):
            self._start(run, entry.agent, None, partial(self._back, entry=entry, back=back))
        self._pending |= {change.name: change for change in fresh}
        batch = asyncio.create_task(self._batch(run, begun))
        self._batches.add(batch)
        batch.add_done_callback(self._batch_ended)

    def beside(
        self, name: AgentName, spec_hash: str, work: Callable[[Run], Coroutine[None, None, ChangeFinished]]
    ) -> None:
        """Do something that no plan says for an agent that is not under way and stays at its spec, in its turn."""

        async def in_turn(run: Run) -> ChangeFinished:
            async with self._turns.one(run.stop):
                return await work(run)

        self._start(self.run, name, None, in_turn, spec_hash=spec_hash)

    async def _first(self, run: Run, plan: Plan) -> None:
        """See who the clusters are that `plan` touches; one that was another may be the right one by now.

        What is found is for all work: where somebody found a cluster silent, nobody waits for it again.
        """
        looking = replace(run, lost={name: item for name, item in run.lost.items() if item[1] != math.inf})
        await first(looking, plan, spends=self.options.spends)
        for name in {item.cluster for change in plan.changes for item in change.objects}:
            if run.lost.get(name, ("", 0.0))[1] == math.inf:
                del run.lost[name]
        run.lost.update(looking.lost)

    async def leave(self, others: Callable[[AgentName], bool]) -> None:
        """Stop the work on agents that are somebody else's from now on, and wait until it has written where it is."""
        self._pending = {name: change for name, change in self._pending.items() if not others(name)}
        left = [work for name, work in self._work.items() if others(name)]
        for work in left:
            work.stop.set()
        await asyncio.gather(*(work.task for work in left), return_exceptions=True)

    def stop(self) -> None:
        """Let nothing new begin, and everything under way write down where it is."""
        self.run.stop.set()
        for work in self._work.values():
            work.stop.set()

    async def ended(self) -> None:
        """Wait until nothing is under way. Never raises for what the work raised: `on_end` heard of that."""
        while not self.idle:
            await asyncio.gather(*self._batches, *(work.task for work in self._work.values()), return_exceptions=True)

    def _leave_what_changed(self, plan: Plan) -> None:
        """Stop what is wanted otherwise now, and forget what has not begun and is wanted otherwise, or no more."""
        wanted = {change.name: change for change in plan.changes}
        for name, change in list(self._pending.items()):
            if name not in wanted or not same_aim(change, wanted[name]):
                del self._pending[name]
        for name, work in self._work.items():
            now = wanted.get(name)
            if now is not None and not work.goes_on(now):
                work.stop.set()

    async def _batch(self, run: Run, plan: Plan) -> None:
        """The changes of one plan in its order, wave after wave, deletes last; among them those that others do.

        A wave waits for all work of earlier waves, of older plans as well: who fails is on the way back for a while.
        """
        tasks: dict[AgentName, asyncio.Task[ChangeFinished]] = {}
        for (deletes, wave), group in groupby(plan.changes, key=_turn_of):
            earlier = {*tasks.values(), *(work.task for work in self._work.values() if work.before(deletes, wave))}
            if earlier:
                await asyncio.wait(earlier)
            for change in group:
                if self._pending.get(change.name) is change:
                    del self._pending[change.name]
                    before = {name: tasks[name] for name in change.after if name in tasks}
                    own = partial(self._one, change=change, before=before)
                    tasks[change.name] = self._start(run, change.name, change, own)
                elif not deletes and (others := self._work.get(change.name)) is not None:
                    tasks[change.name] = others.task
        if tasks:
            await asyncio.wait(tasks.values())
        if run.stop.is_set():
            return
        async with self._fleet:
            if self.shards is None or self.shards.speaks:
                await note_commit(run, plan)
            await lift(run, plan, mine=self._rests)

    def _rests(self, name: AgentName) -> bool:
        """Whether an agent is ours to look after, and nothing is done about it."""
        return name not in self.busy and (self.shards is None or self.shards.mine(name))

    def _batch_ended(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        if not self._batches:
            self._pending.clear()  # one that failed in the middle leaves none behind
        if not batch.cancelled() and (error := batch.exception()) is not None:
            self.on_end(Broken(agent=None, error=error))
        if self.idle:
            self.on_end(None)

    def _start(
        self,
        run: Run,
        name: AgentName,
        change: Change | None,
        work: Callable[[Run], Coroutine[None, None, ChangeFinished]],
        *,
        spec_hash: str = "",
    ) -> asyncio.Task[ChangeFinished]:
        stop = asyncio.Event()
        if run.stop.is_set():
            stop.set()
        task = asyncio.create_task(work(replace(run, stop=stop, lock=run.lock.of(name))))
        self._work[name] = _Work(change=change, stop=stop, task=task, spec_hash=spec_hash)
        task.add_done_callback(lambda done: self._work_ended(name, done))
        return task

    def _work_ended(self, name: AgentName, task: asyncio.Task[ChangeFinished]) -> None:
        del self._work[name]
        if task.cancelled():
            self.on_end(Broken(agent=name, error=Unfinished("what it waited for was cancelled")))
        elif (error := task.exception()) is not None:
            self.on_end(Broken(agent=name, error=error))
        else:
            self.on_end(task.result())
        if self.idle:
            self.on_end(None)

    async def _back(self, run: Run, entry: JournalEntry, back: Back) -> ChangeFinished:
        async with self._turns.one(run.stop):
            return await conclude(run, entry, back(run) if not run.stop.is_set() else _not_begun())

    async def _one(
        self, run: Run, *, change: Change, before: Mapping[AgentName, asyncio.Task[ChangeFinished]]
    ) -> ChangeFinished:
        for name, task in sorted(before.items()):
            if (done := await asyncio.shield(task)).outcome not in WORKED:
                return skip(change, f"it waits for {name}, which was not brought up: {done.reason or done.text}")
        async with self._turns.one(run.stop) as turn:
            if run.stop.is_set():
                return skip(change, "the work was stopped before it began")
            if too_late(run, change):
                return skip(change, "its change window has closed")
            return await run_change(run, change, turn)


async def _not_begun() -> Way:
    raise Unfinished("it was stopped before it began")


def _everybody(_name: AgentName) -> bool:
    return True


def _turn_of(change: Change) -> tuple[bool, int]:
    return change.action is Action.DELETE, change.wave
