"""Sending what is queued: each route by a task of its own while it has something, so that a dead receiver holds up
nobody else; in order, again after a growing while, and never in the loop's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.daemon.measures import Measures
from reconciler.daemon.telling import Teller
from reconciler.daemon.wakes import Pace
from reconciler.model.agent import AlertRoute
from reconciler.model.alert import Answer, Queued, Route, Verdict
from reconciler.model.errors import ReconcilerError
from reconciler.ports import AlertBook, AlertSink, Clock

MOST_AT_ONCE, MOST_AGAIN = 64, 16
"""How many are sent at once, and beside them how many to receivers that were not there last time: those take as long
as they may, and others wait for none of them.
"""


@dataclass(slots=True, kw_only=True)
class Senders:
    """Empties the queues of `book`. `open_sink` raises UsageError for settings that cannot be used."""

    book: AlertBook
    open_sink: Callable[[AlertRoute], AlertSink]
    clock: Clock
    pace: Pace
    tell: Teller
    measures: Measures
    _routes: Mapping[str, Route] = field(default_factory=dict)
    _sinks: dict[str, tuple[AlertRoute, AlertSink]] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    _again: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AGAIN))

    async def follow(self, routes: Sequence[Route]) -> None:
        """These are the routes now. What is queued for others is dropped; what waits for a receiver that a route had
        before goes to the one that it has now. Raises RegistryError.
        """
        before, self._routes = self._routes, {route.id: route for route in routes}
        changed = [id_ for id_ in self._tasks if id_ not in self._routes or self._routes[id_].said != before[id_].said]
        under_way = [id_ for id_ in changed if not self._tasks[id_].done()]
        for id_ in changed:
            await _ended(self._tasks.pop(id_))
        for id_, (said, sink) in list(self._sinks.items()):
            route = self._routes.get(id_)
            if route is None or route.said != said:
                del self._sinks[id_]
                await sink.close()
        dropped = await self.book.forget(frozenset(self._routes))
        if dropped:
            self.tell.say("warning", "alerts-dropped", number=dropped, reason="their routes are gone from the fleet")
        self.send(under_way)

    def send(self, routes: Iterable[str]) -> None:
        """See that what is queued for `routes` is being sent."""
        for id_ in routes:
            task = self._tasks.get(id_)
            if id_ in self._routes and (task is None or task.done()):
                self._tasks[id_] = asyncio.create_task(self._empty(self._routes[id_]))

    async def idle(self) -> None:
        """Wait until nothing is being sent, or waits to be sent again."""
        while tasks := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop sending where it is; what was not sent stays queued."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            await _ended(task)
        sinks, self._sinks = list(self._sinks.values()), {}
        for _, sink in sinks:
            await sink.close()

    async def _empty(self, route: Route) -> None:
        failures, answered = 0, (0, Answer(verdict=Verdict.LATER, text=""))
        while True:
            try:
                queued = await self.book.next(route.id)
                if queued is None:
                    return
                if answered[0] == queued.number:  # it was taken, and that could not be written down
                    answer = answered[1]
                else:
                    answer = await self._sent(route, queued, again=failures > 0)
                    answered = (queued.number, answer) if answer.verdict is not Verdict.LATER else answered
                await self.book.tried(queued, answer)
            except ReconcilerError as error:  # the queue itself; nothing is lost, it may be sent twice
                answer = Answer(verdict=Verdict.LATER, text=error.message)
            self.measures.alert_tried(route.said.receiver, answer.verdict.value)
            if answer.verdict is not Verdict.LATER:
                failures = 0
                continue
            failures += 1
            await self.clock.sleep(max(answer.again_s or 0.0, self.pace.pause(failures)))

    async def _sent(self, route: Route, queued: Queued, *, again: bool) -> Answer:
        told = queued.notification
        try:
            sink = await self._sink(route)
            async with self._again if again else self._gate:
                answer = await sink.send(told)
        except ReconcilerError as error:
            answer = Answer(verdict=Verdict.LATER, text=error.message)
        except Exception as error:  # noqa: BLE001 - a fault in one sink must not end the others, nor block its route
            answer = Answer(verdict=Verdict.REFUSED, text=f"{type(error).__name__} while it was sent")
        facts = {"route": told.name, "receiver": route.said.receiver, "id": told.id, "answer": answer.text}
        match answer.verdict:
            case Verdict.SENT:
                self.tell.say("info", "alert-sent", **facts, title=told.title)
            case Verdict.REFUSED:
                self.tell.say("error", "alert-refused", **facts, title=told.title)
            case Verdict.LATER:
                news = answer.text != queued.problem
                self.tell.say("warning" if news else "debug", "alert-not-sent", **facts, attempts=queued.attempts + 1)
        return answer

    async def _sink(self, route: Route) -> AlertSink:
        known = self._sinks.get(route.id)
        if known is None:
            known = self._sinks[route.id] = route.said, self.open_sink(route.said)
        return known[1]


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
