"""Carrying out a plan on the command line: asking, progress, signals, the exit code. Shared by apply and destroy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from reconciler.cli.entry import INTERRUPTED_EXIT
from reconciler.cli.fleets import ApplyRequest, Session
from reconciler.cli.output import ReaderGone, emit, note, wants_color
from reconciler.cli.planning import ask, findings_note, leaves_out, shown_plan
from reconciler.cli.progress import progress
from reconciler.cli.settings import Settings
from reconciler.cli.views.apply import Ledger, closing, event_json
from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.plan_words import completeness, hold_text, idle_notes, left_text, left_to_others, totals
from reconciler.model.errors import UsageError
from reconciler.model.events import ApplyEvent, ApplyFinished, ApplyStarted
from reconciler.model.identity import AgentName
from reconciler.model.plan import HoldCode, Plan

MAX_LEFT = 20
MAX_HELD = 20
WITHOUT_ASKING = "add --auto-approve; an apply may also do a saved plan: `reconciler plan --out FILE`"
NOTHING_DONE = (
    ApplyStarted(total=0),
    ApplyFinished(applied=0, failed=0, skipped=0, duration_ms=0, sequence=0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an apply behaves towards people: whether it asks, and what it prints (`text` or `json`)."""

    approved: bool
    output: str
    settings: Settings
    show_plan: bool = True
    question: str = "Apply these changes?"
    unasked: str = WITHOUT_ASKING
    """What to do where nobody can be asked."""


async def carry_out(session: Session, plan: Plan, request: ApplyRequest, manner: Manner) -> int:
    """Show, ask, apply, report. Answers the exit code. Raises what the engine raises."""
    as_json = manner.output == "json"
    color = wants_color(manner.settings.text("color"), sys.stdout, os.environ)
    if manner.show_plan and not as_json:
        emit(shown_plan(plan, "text", color=color))
    else:
        _tell_held(plan)
    findings_note(plan)
    pins = plan.policy.accept_clusters or plan.policy.forget_clusters
    if not plan.changes and not pins and not await _unfinished(session, plan):
        return _nothing_to_do(plan, manner)
    if plan.changes and not manner.approved:
        _agreed(manner)
    for told in idle_notes(plan.idle):
        note(told)
    stop = asyncio.Event()
    ledger = await follow(
        session.apply(plan, request, stop),
        stop,
        [change.name for change in plan.changes],
        as_json=as_json,
        color=color,
    )
    if not as_json:
        _quietly(closing(ledger))
    _tell_left(plan)
    if ledger.end is not None and ledger.end.interrupted:
        return INTERRUPTED_EXIT
    return 0 if ledger.all_applied and not leaves_out(plan) else 1


def _nothing_to_do(plan: Plan, manner: Manner) -> int:
    """Say so, in the words of the format; answers the exit code."""
    if manner.output == "json":
        for event in NOTHING_DONE:
            emit(event_json(event))
    elif not manner.show_plan:
        emit(totals(plan))
    _tell_left(plan)
    return 1 if leaves_out(plan) else 0


def _tell_held(plan: Plan) -> None:
    """Say on stderr what a plan leaves out that is not shown itself: why an apply of it ends with 1, and what targets
    are without.
    """
    left_out = [hold for hold in plan.holds if hold.blocks_exit or hold.code is HoldCode.TARGETS]
    held = [f"{'held' if hold.blocks_exit else 'note'}: {hold_text(hold)}" for hold in left_out]
    for text in held[:MAX_HELD]:
        note(text)
    if len(held) > MAX_HELD:
        note(f"... and {len(held) - MAX_HELD} more; `reconciler plan` shows all of them.")
    if any(item.problem for item in plan.completeness):
        note(f"not all could be read: {completeness(plan)}")


def _tell_left(plan: Plan) -> None:
    """Name the managers whose fields stay as they have them, on stderr: ready does not mean as declared there."""
    left = left_to_others(plan)
    for drift in left[:MAX_LEFT]:
        note(f"left as it is: {left_text(drift)}")
    if len(left) > MAX_LEFT:
        note(f"... and {plural(len(left) - MAX_LEFT, 'more field')}; `reconciler plan` shows all of them.")


async def follow(
    events: AsyncIterator[ApplyEvent], stop: asyncio.Event, names: Sequence[AgentName], *, as_json: bool, color: bool
) -> Ledger:
    """Show events as they come, and let signals set `stop`. Answers what came of it."""
    ledger = Ledger(planned=list(names))
    width = max((len(str(name)) for name in ledger.planned), default=0)
    with _signals(stop):
        await (_as_json(events, ledger) if as_json else _as_text(events, ledger, width, color=color))
    return ledger


async def _unfinished(session: Session, plan: Plan) -> bool:
    """Whether an earlier apply left something open: then there is something to do even without changes."""
    if not plan.fleet or any(item.problem for item in plan.completeness if item.source == "registry"):
        return False
    return bool(await (await session.stores()).registry.open_journal())


def _agreed(manner: Manner) -> None:
    """Ask. Raises UsageError where nobody can answer, or knows what to, or the answer is not yes."""
    if manner.output == "json":
        raise UsageError("-o json shows no plan that one could agree to", hint=manner.unasked)
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on", hint=manner.unasked)
    if not ask(manner.question):
        raise UsageError("not applied: the answer was not 'yes'")


async def _as_text(events: AsyncIterator[ApplyEvent], ledger: Ledger, width: int, *, color: bool) -> None:
    reader = True
    with progress(width, color=color) as view:
        async for event in events:
            ledger.take(event)
            if reader:
                try:
                    view.take(event)
                except ReaderGone:
                    reader = False


async def _as_json(events: AsyncIterator[ApplyEvent], ledger: Ledger) -> None:
    async for event in events:
        ledger.take(event)
        _quietly(event_json(event))


def _quietly(text: str) -> None:
    """Print; a reader that went away does not stop what has begun."""
    with contextlib.suppress(ReaderGone):
        emit(text)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the apply to stop after what it is doing; the second ends the wait for that."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def asked(name: str) -> None:
        if stop.is_set():
            if task is not None:
                task.cancel()
            return
        note(f"{name}: nothing new is started, and nothing more is waited for. Once more to stop at once.")
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, asked, signal.Signals(number).name)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
