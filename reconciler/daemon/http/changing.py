"""What can be changed by hand, as the command line does: wishes in a record, a rollback, an approval. Only for callers
that are known and may, each under their name.

May live here: what of it is asked and answered over HTTP. What it does is the engine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Annotated, TypedDict

from msgspec import Meta, Struct

from reconciler.daemon.http.access import Right
from reconciler.daemon.http.answers import Nothing
from reconciler.daemon.http.problems import Problem
from reconciler.daemon.http.reading import record_of
from reconciler.daemon.http.routes import Answer, Call, Route
from reconciler.engine import operate
from reconciler.engine.approving import approve
from reconciler.engine.operate import MAX_REPLICAS, Hand
from reconciler.model.errors import ReconcilerError
from reconciler.model.events import ChangeFinished, ChangeStarted
from reconciler.model.identity import AgentName
from reconciler.model.plan import Plan
from reconciler.model.registry import Record
from reconciler.model.units import Duration
from reconciler.shapes.records import ApprovalShape, RecordShape, approval_json, record_json

LOCK_WAIT_S = 10.0
MOST_ROLLBACKS = 4
"""That go on at once: each waits for the lock."""
Reason = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$", description="Why; it is kept on record.")]
Span = Annotated[str, Meta(pattern=r"^(?:[1-9][0-9]{0,2}[smhd]){0,2}$", description="Like 2h or 1h30m.")]


class Because(Struct, forbid_unknown_fields=True):
    reason: Reason = ""


class Scale(Struct, forbid_unknown_fields=True, rename={"for_": "for"}):
    replicas: Annotated[int, Meta(ge=0, le=MAX_REPLICAS, description="How many, whatever Git says.")]
    for_: Annotated[Span, Meta(description="Git takes over again after this time; empty: until it is ended.")] = ""
    reason: Reason = ""


class Rollback(Struct, forbid_unknown_fields=True):
    to: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    reason: Reason = ""


class Approve(Struct, forbid_unknown_fields=True, rename={"for_": "for"}):
    approval: Annotated[str, Meta(pattern="^[0-9a-f]{12}$", description="As the plan says, of what it holds.")]
    for_: Annotated[Span, Meta(description="How long it counts; a day unless said.")] = ""
    reason: Reason = ""


class UnderWayShape(TypedDict):
    """Something that goes on after the answer; `follow` is where to look."""

    agent: str
    detail: str
    follow: str


@dataclass(slots=True)
class Changing:
    """Changes that callers of one daemon make. `close` stops what goes on where it is, as SIGTERM does an apply."""

    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _going: dict[AgentName, asyncio.Task[None]] = field(default_factory=dict)

    async def close(self) -> None:
        """End what goes on; the next apply goes on with it."""
        self._stop.set()
        await asyncio.gather(*self._going.values(), return_exceptions=True)

    async def scale(self, call: Call) -> Answer:
        """Replicas by hand. Refused where an autoscaler owns them."""
        given: Scale = call.given
        for_ms = _span(given.for_)
        return await _wish(
            call, lambda by: operate.scale(by, call.agent, given.replicas, for_ms=for_ms, reason=given.reason)
        )

    async def unscale(self, call: Call) -> Answer:
        """Git says again how many."""
        return await _wish(call, lambda by: operate.unscale(by, call.agent, reason=call.given.reason))

    async def suspend(self, call: Call) -> Answer:
        """Let it run nowhere."""
        return await _wish(call, lambda by: operate.suspend(by, call.agent, reason=call.given.reason))

    async def resume(self, call: Call) -> Answer:
        """Let it run again, or try a quarantined spec once more."""
        return await _wish(call, lambda by: operate.resume(by, call.agent, reason=call.given.reason))

    async def rollback(self, call: Call) -> Answer:
        """Go back to an earlier revision: answered when it has begun, and followed by reading the agent."""
        name = call.agent
        await record_of((await call.inside.stores()).registry, name)
        _refuse_unless_it_plans(call)  # what a daemon that stands by knows of Git may be as old as itself
        if name in self._going:
            raise Problem(409, "under-way", f"{name} is on its way back already")
        if len(self._going) >= MOST_ROLLBACKS:
            raise Problem(503, "busy", "several agents are on their way back already", headers={"Retry-After": "30"})
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = self._going[name] = asyncio.create_task(self._back(call, begun))
        task.add_done_callback(lambda _task: self._going.pop(name, None))
        await begun
        follow = f"/api/v1/agents/{name}"
        value: UnderWayShape = {"agent": str(name), "detail": "it is on its way back", "follow": follow}
        return Answer(value=value, status=202, headers={"Location": follow})

    async def approve(self, call: Call) -> Answer:
        """Allow what this daemon's last plan holds back."""
        given: Approve = call.given
        plan = _refuse_unless_it_plans(call)
        by = await _hand(call)
        span = {"for_ms": _span(given.for_)} if given.for_ else {}
        made = await approve(by, plan, given.approval, reason=given.reason, **span)
        call.inside.look(f"{call.caller.name} approved {given.approval}")
        return Answer(value=approval_json(given.approval, made))

    async def _back(self, call: Call, begun: asyncio.Future[None]) -> None:
        """The whole way; `begun` is over when it has begun, or has what kept it from that."""
        inside, name, actor = call.inside, call.agent, call.caller.actor()
        given: Rollback = call.given
        holder = f"{actor} ({inside.options.holder})"
        options = replace(inside.options, actor=actor, holder=holder, lock_wait_s=LOCK_WAIT_S)
        declared = inside.declared()
        events = operate.rollback(
            inside.world, name, to=given.to, reason=given.reason, options=options, stop=self._stop,
            fleet=declared.fleet if declared is not None else None,
        )  # fmt: skip
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, ChangeStarted) and not begun.done():
                        begun.set_result(None)
                    elif isinstance(event, ChangeFinished):
                        inside.tell.event(event)
        except ReconcilerError as error:
            _broke(call, begun, error)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: what breaks it is told
            _broke(call, begun, ReconcilerError(f"{type(error).__name__}: {error}"))
        finally:
            if not begun.done():
                begun.set_result(None)
            inside.look(f"{name} went back")

    def routes(self) -> tuple[Route, ...]:
        """Where changes are asked for."""
        return (
            _of_agent("scale", "Set replicas by hand", self.scale, Scale),
            _of_agent("unscale", "End a scaling by hand", self.unscale, Because),
            _of_agent("suspend", "Stop an agent without removing it", self.suspend, Because),
            _of_agent("resume", "End a suspension, or a quarantine", self.resume, Because),
            replace(
                _of_agent("rollback", "Return an agent to an earlier revision", self.rollback, Rollback),
                answers=UnderWayShape,
                status=202,
            ),
            Route(
                method="POST",
                path="/api/v1/approvals",
                name="approve",
                summary="Allow deletions that the last plan holds",
                text="For exactly the commit and the agents that `held` of the plan shows; one more is held again.",
                right=Right.WRITE,
                handle=self.approve,
                asked=Nothing,
                given=Approve,
                answers=ApprovalShape,
                problems=_REFUSED,
            ),
        )


_REFUSED = {409: "It is refused: the reason is told", 422: "The body is not as it has to be"}


def _of_agent(name: str, summary: str, handle: Callable[[Call], Awaitable[Answer]], given: type) -> Route:
    return Route(
        method="POST",
        path=f"/api/v1/agents/{{namespace}}/{{name}}/{name}",
        name=name,
        summary=summary,
        right=Right.WRITE,
        handle=handle,
        asked=Nothing,
        given=given,
        answers=RecordShape,
        problems={404: "There is no such agent", **_REFUSED},
    )


def _refuse_unless_it_plans(call: Call) -> Plan:
    """The last plan of a daemon that makes some. Raises Problem."""
    plan = call.inside.plan()
    if plan is None:
        raise Problem(409, "no-plan", "this daemon has made no plan, or stands by", hint="ask the one that leads")
    return plan


async def _hand(call: Call) -> Hand:
    inside = call.inside
    registry = (await inside.stores()).registry
    return Hand(registry=registry, clock=inside.clock, actor=call.caller.actor(), retry=inside.options.retry)


async def _wish(call: Call, write: Callable[[Hand], Awaitable[Record]]) -> Answer:
    """Write a wish into a record; the loop brings it about."""
    by = await _hand(call)
    await record_of(by.registry, call.agent)
    made = await write(by)
    call.inside.look(f"{call.caller.name} wishes something of {call.agent}")
    return Answer(value=record_json(made))


def _broke(call: Call, begun: asyncio.Future[None], error: ReconcilerError) -> None:
    if begun.done():
        call.inside.tell.say("error", "way-back-broke-off", agent=str(call.agent), error=error.message)
    else:
        begun.set_exception(error)


def _span(text: str) -> int:
    """Milliseconds; 0 for ""."""
    try:
        return Duration.parse(text).ms if text else 0
    except ValueError as error:
        raise Problem(422, "bad-body", f"{error} - at `$.for`") from None
