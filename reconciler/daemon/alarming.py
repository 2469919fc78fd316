"""The alarm: hears what goes on, keeps which alerts are active, and has routes told of it.

Whoever reports something here only leaves it and goes on. Deciding and writing down are done by a task beside the loop,
sending by others. What is active and what was told outlives the process, so that a restart tells nothing twice, and
what ended meanwhile is told as over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.alerting import Decision, Outlook, decide, routes_of
from reconciler.alerting import raising as made
from reconciler.alerting.masking import masked
from reconciler.daemon.measures import Measures
from reconciler.daemon.sending import Senders
from reconciler.daemon.sweeping import Swept
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Pace
from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Alert, AlertChange, AlertGroup, AlertState, Route, Silence
from reconciler.model.events import ChangeFinished
from reconciler.model.fleet import Declaration
from reconciler.model.identity import AgentName
from reconciler.model.plan import Plan
from reconciler.ports import AlertBook, AlertSink, Clock

MOST_S = 300.0
"""It looks again after so long at the latest while an alert is active: clocks are set."""
MOST_HEARD = 10_000
"""Things that were reported and not looked at yet; beyond it the oldest are forgotten."""

PARTING_S = 120.0
"""So long who leads no more tells what is over at most: a group is told of once a minute."""
MANY = 500
CONFIRMED_WITHIN = 6
"""Sweeps after which what was raised before a restart has been raised again, or is over: thresholds have passed."""

Active = Mapping[str, Alert]
Keep = Callable[[Callable[[], Awaitable[None]]], asyncio.Task[None]]
"""Runs some work by a task of its own, again where it breaks off."""
Report = Callable[[Active], Sequence[Alert]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which part of a fleet a daemon looks after: whose alerts are its own, and whether it speaks for the whole."""

    seat: str = ""
    mine: Callable[[AgentName], bool] = lambda _name: True
    speaks: Callable[[], bool] = lambda: True


@dataclass(slots=True, kw_only=True)
class Alarming:
    """One daemon's alarm. `declared` is the fleet as it was read last; `open_book` opens what is kept on disk."""

    clock: Clock
    open_book: Callable[[str], Awaitable[AlertBook]]
    """Opens what one of several daemons keeps, by its seat; "" where there is but one at a time."""
    open_sink: Callable[[AlertRoute], AlertSink]
    declared: Callable[[], Declaration | None]
    pace: Pace
    tell: Teller
    measures: Measures
    seats: Callable[[], Collection[str]] = tuple
    """The seats of which something is kept on disk here: what waits there is sent by who sits there again."""
    keep: Keep | None = None
    """Keeps a task up, also before it leads: where the registry is away from the start, nobody is elected to say so."""
    _alone: bool = True
    """Whether nothing was heard of any daemon that leads, this one included."""
    _active: dict[str, Alert] = field(default_factory=dict)
    _kept: AlertState | None = None
    """As it stands on disk; None while that is not known."""
    _levels: dict[str, Report] = field(default_factory=dict)
    """What was reported last of things that are reported again and again: only the newest counts."""
    _events: deque[Report] = field(default_factory=lambda: deque(maxlen=MOST_HEARD))
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _known: made.Known = field(default_factory=lambda: made.Known(agents={}, records={}))
    _silences: tuple[Silence, ...] = ()
    _routes: tuple[Route, ...] = ()
    _routes_of: Declaration | None = None
    _strangers: set[str] = field(default_factory=set)
    """Routes that lead to another receiver than before, which was told nothing yet."""
    _fleet: str = ""
    _unread: dict[str, tuple[int, str]] = field(default_factory=dict)
    _failing_ms: int = 0
    _blind_ms: int = 0
    _scope: Scope = field(default_factory=Scope)
    _sweeps: float = 0
    """Heard of since it began to lead, each of a few agents for its part of them."""
    _unconfirmed: set[str] = field(default_factory=set)
    """Keys of alerts that others raised before a restart, and not again since."""
    _parting: float = 0.0
    """Until when the last things are told after another one began to lead (monotonic); 0 while nothing is."""
    _task: asyncio.Task[None] | None = None
    _ending: asyncio.Task[None] | None = None

    def raise_(self, alert: Alert) -> None:
        """An alert began, is otherwise than it was, or (`resolved`) is over."""
        self._event(lambda _active: (self._known.clean(alert.agent, alert) if alert.agent is not None else alert,))

    async def heard(self, swept: Swept) -> None:
        """A sweep ended."""
        now_ms = self.clock.now_ms()
        there = len(swept.found.assessments)
        self._sweeps += len(swept.found.assessed) / there if there else 1
        agents = {**swept.declared.agents, **swept.kept} if swept.kept else swept.declared.agents
        known = self._known = made.Known(agents=agents, records=swept.records)
        self._silences = swept.fleet.silences if swept.fleet is not None else ()
        unreadable = swept.found.unreadable
        self._unread = {name: (self._unread.get(name, (now_ms, ""))[0], why) for name, why in unreadable.items()}
        since = dict(self._unread)
        self._level("health", lambda active: made.of_health(swept.found.assessments, known, active, now_ms))
        self._level("clusters", lambda active: made.of_clusters(since, active, now_ms))

    def ended(self, end: ChangeFinished) -> None:
        """A change ended."""
        now_ms, known = self.clock.now_ms(), self._known
        self._event(lambda active: [one for one in (made.of_end(end, known, active, now_ms),) if one is not None])

    def planned(self, plan: Plan, busy: frozenset[AgentName]) -> None:
        """A pass made a plan; `busy` have a change under way."""
        now_ms, known = self.clock.now_ms(), self._known
        self._level("plan", lambda active: made.of_plan(plan, known, active, now_ms, busy=busy))

    def passed(self, problem: str) -> None:
        """A pass ended: without a plan, and why, or well ("")."""
        now_ms = self.clock.now_ms()
        began = self._failing_ms = (self._failing_ms or now_ms) if problem else 0
        text = f"no plan can be made: {problem}" if problem else ""
        after, seat = made.FAILING_AFTER_MS, self._scope.seat
        self._level(
            "passes", lambda active: made.of_state(made.PASSES, text, began, after, active, now_ms, daemon=seat)
        )

    def registry(self, problem: str) -> None:
        """The registry could not be asked, and why, or it could be ("")."""
        now_ms = self.clock.now_ms()
        began = self._blind_ms = (self._blind_ms or now_ms) if problem else 0
        text = f"nothing is changed until it can be asked: {problem}" if problem else ""
        after, seat = made.BLIND_AFTER_MS, self._scope.seat
        self._level(
            "registry", lambda active: made.of_state(made.REGISTRY, text, began, after, active, now_ms, daemon=seat)
        )
        if began and self._alone and self._task is None and self.keep is not None and now_ms - began >= after:
            self._start(self.keep)  # it was away since before anybody led: there may be nobody else to say so

    def begin(self, keep: Keep, scope: Scope | None = None) -> None:
        """Begin to lead, all or what `scope` says: raise alerts, by a task that `keep` keeps up.

        It goes on while the registry cannot be asked, for somebody has to say so; it ends when another daemon leads.
        What was known before another one led is its doing since, and counts no more.
        """
        before, self._scope, self._alone = self._scope, scope or Scope(), False
        if self._task is not None and before.seat == self._scope.seat:
            self._doubt()
            return
        self.end()
        self._sweeps = 0
        self._levels.clear()
        self._events.clear()
        self._unread, self._failing_ms = {}, 0
        self.registry("")  # who leads has asked it: what was told of it before a restart is over
        self._start(keep)

    def _start(self, keep: Keep) -> None:
        self._kept, self._active = None, {}
        self._task = keep(self.run)

    def _doubt(self) -> None:
        """What others raised and still knew to end is known to nobody any more: it ends unless it is raised again."""
        self._sweeps = 0
        self._unconfirmed = {key for key, one in self._active.items() if one.name not in made.OWN}

    def behind(self) -> None:
        """Another daemon leads: end, once whoever was told that the registry is away was told that it is over. Who
        leads now knows nothing of that. To be called again and again.
        """
        now, self._alone = self.clock.monotonic(), False
        if self._task is not None and self._has_told(made.REGISTRY):
            self._parting = self._parting or now + PARTING_S
            if now < self._parting:
                return
        self.end()

    def _has_told(self, name: str) -> bool:
        kept = self._kept.groups.values() if self._kept is not None else ()
        told = (alert for group in kept for alert in group.told.values())
        return any(alert.name == name for alert in (*self._active.values(), *told))

    def end(self) -> None:
        """Raise none any more."""
        self._parting = 0.0
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._ending = task
            self.measures.alerts_nobodys()

    async def close(self) -> None:
        """Stop; what is not sent yet is sent by the next that begins."""
        self.end()
        if self._ending is not None:
            await asyncio.gather(self._ending, return_exceptions=True)

    async def run(self) -> None:
        """Until cancelled. Raises RegistryError when what is kept on disk cannot be read or written."""
        book = await self.open_book(self._scope.seat)
        senders = Senders(
            book=book, open_sink=self.open_sink, clock=self.clock, pace=self.pace, tell=self.tell,
            measures=self.measures,
        )  # fmt: skip
        try:
            await self.load(book)
            self._routes_of = None  # these senders have not heard of them
            while True:
                self._woken.clear()
                await self._wait(await self.step(book, senders))
        finally:
            await senders.close()
            await book.close()

    async def load(self, book: AlertBook) -> None:
        """Go on from what is on disk, unless that is known. Raises RegistryError."""
        if self._kept is None:
            self._kept = await book.state()
            self._active = dict(self._kept.active)
            self._doubt()

    async def step(self, book: AlertBook, senders: Senders) -> int | None:
        """Take in what was reported, decide, write it down, have it sent. Answers when to look again."""
        declared = self.declared()
        if declared is None or (declared.fleet is None and not self._fleet):
            return None  # nobody is known yet who could be told, and nothing is forgotten
        first = self._routes_of is None
        if declared is not self._routes_of:
            before = {route.id: route.said for route in self._routes}
            self._routes, self._routes_of = routes_of(declared, self._routes), declared
            self._strangers |= {one.id for one in self._routes if _leads_elsewhere(before.get(one.id), one.said)}
            self._fleet = declared.fleet.name if declared.fleet is not None else self._fleet
            await senders.follow(self._routes)
        self._let_go()
        self._take_in()
        self._end_unconfirmed()
        decision = await self._decided(book)
        unsent = {route for route, _key in await book.unsent()} if first else set()
        senders.send(unsent | {one.route for one in decision.notifications})
        self.measures.alerts_active(alert for alert in self._active.values() if not self._elsewhere(alert))
        self.measures.alerts_waiting(await book.waiting(), self._routes)
        return decision.due_ms

    async def _decided(self, book: AlertBook) -> Decision:
        assert self._kept is not None  # noqa: S101 - load() comes before the first step
        unsent = await book.unsent() if self._active else frozenset()
        groups = self._groups()  # what waits for the receiver before is sent to the one that is there now
        groups = {key: one for key, one in groups.items() if key[0] not in self._strangers or key in unsent}
        look = Outlook(
            fleet=self._fleet,
            active=dict(self._active),
            routes=self._routes,
            silences=self._silences,
            groups=groups,
            now_ms=self.clock.now_ms(),
            unsent=unsent,
            elsewhere=frozenset(key for key, alert in self._active.items() if self._elsewhere(alert)),
        )
        many = len(look.active) > MANY  # then it takes a while, and others go on meanwhile
        decision = await asyncio.to_thread(decide, look) if many else decide(look)
        change = _change(self._kept, self._active, decision)
        if not change.empty:
            dropped = await book.commit(change)
            receivers = {route.id: route.said.receiver for route in self._routes}
            for route, number in dropped.items():
                self.tell.say("error", "alerts-dropped", route=route, number=number, reason="too many wait to be sent")
                self.measures.alerts_dropped(receivers.get(route, "gone"), number)
            self._kept = AlertState(active=dict(self._active), groups=decision.groups)
        self._strangers.clear()
        return decision

    def _take_in(self) -> None:
        levels, self._levels = self._levels, {}
        events, self._events = self._events, deque(maxlen=MOST_HEARD)
        for report in (*events, *levels.values()):
            for alert in report(self._active):
                self._put(alert)

    def _let_go(self) -> None:
        """Forget what is another daemon's to tell now, and say nothing of it: it goes on, and is raised anew there."""
        for key in [key for key, alert in self._active.items() if not self._ours(alert)]:
            del self._active[key]

    def _end_unconfirmed(self) -> None:
        """End what others raised before a restart, and did not again."""
        if self._sweeps >= CONFIRMED_WITHIN:
            for key in self._unconfirmed & self._active.keys():
                self._put(replace(self._active[key], resolved=True, text="it was not raised again after a restart"))
            self._unconfirmed.clear()

    def _ours(self, alert: Alert) -> bool:
        return alert.agent is None or self._scope.mine(alert.agent) or alert.agent not in self._known.records

    def _elsewhere(self, alert: Alert) -> bool:
        """Whether all daemons know of it, and another one tells. Here it stands for alerts of agents all the same."""
        return alert.agent is None and alert.name in made.OF_THE_FLEET and not self._scope.speaks()

    def _groups(self) -> Mapping[tuple[str, str], AlertGroup]:
        """What routes were told, without what is another daemon's to tell now."""
        assert self._kept is not None  # noqa: S101 - as above
        groups = {}
        for key, group in self._kept.groups.items():
            told = {
                name: alert for name, alert in group.told.items() if self._ours(alert) and not self._elsewhere(alert)
            }
            if told or not group.told:
                groups[key] = group if len(told) == len(group.told) else replace(group, told=told)
        return groups

    def _put(self, alert: Alert) -> None:
        before = self._active.get(alert.key)
        self._unconfirmed.discard(alert.key)
        if alert.resolved:
            if self._active.pop(alert.key, None) is not None:
                self.tell.say("info", "alert-over", alert=alert.key, reason=alert.text)
            return
        if not self._ours(alert):
            return
        alert = replace(alert, text=masked(alert.text), at_ms=before.at_ms if before is not None else alert.at_ms)
        self._active[alert.key] = alert
        if before is None or before.severity is not alert.severity:
            self.tell.say("warning", "alert", alert=alert.key, severity=alert.severity.value, reason=alert.text)

    def _event(self, report: Report) -> None:
        self._events.append(report)
        self._woken.set()

    def _level(self, name: str, report: Report) -> None:
        self._levels[name] = report
        self._woken.set()

    async def _wait(self, due_ms: int | None) -> None:
        """Until something is reported, or it is time to look again."""
        woken = asyncio.create_task(self._woken.wait())
        tasks: list[asyncio.Task[bool] | asyncio.Task[None]] = [woken]
        if due_ms is not None:
            seconds = min(max(0.0, (due_ms - self.clock.now_ms()) / 1000), MOST_S)
            tasks.append(asyncio.create_task(self.clock.sleep(seconds)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # not each by itself: who cancels this meanwhile has to be heard
            await asyncio.gather(*tasks, return_exceptions=True)


def _leads_elsewhere(before: AlertRoute | None, now: AlertRoute) -> bool:
    return before is not None and (before.receiver, before.settings) != (now.receiver, now.settings)


def _change(kept: AlertState, active: Active, decision: Decision) -> AlertChange:
    """What differs from what is on disk."""
    groups: Mapping[tuple[str, str], AlertGroup] = decision.groups
    return AlertChange(
        alerts=tuple(alert for key, alert in sorted(active.items()) if kept.active.get(key) != alert),
        gone_alerts=tuple(sorted(kept.active.keys() - active.keys())),
        groups=tuple(group for key, group in sorted(groups.items()) if kept.groups.get(key) != group),
        gone_groups=tuple(sorted(kept.groups.keys() - groups.keys())),
        notifications=decision.notifications,
    )
