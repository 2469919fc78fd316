"""What an apply says: events in, lines out, for people and for programs. Keeps count of what was finished and not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from reconciler.cli.output import clean, few, paint
from reconciler.cli.views.diagnostics import plural
from reconciler.model.events import ApplyEvent, ApplyFinished, ChangeFinished, ChangeStarted, Outcome
from reconciler.model.identity import AgentName

TEXT_WIDTH = 18
READY_WIDTH = 12
_COLORS: Mapping[Outcome, str] = {
    Outcome.APPLIED: "green",
    Outcome.FAILED: "red",
    Outcome.ROLLED_BACK: "red",
    Outcome.UNDONE: "red",
    Outcome.SKIPPED: "yellow",
    Outcome.SUPERSEDED: "yellow",
}

MAX_NAMES = 20


def seconds(milliseconds: int) -> str:
    """A duration as people read it: `1.2s`, `2m05s`."""
    whole = milliseconds / 1000
    return f"{whole:.1f}s" if whole < 60 else f"{int(whole) // 60}m{int(whole) % 60:02d}s"


@dataclass(slots=True)
class Ledger:
    """Which changes of an apply were started, finished and left: what an interruption has to say."""

    planned: Sequence[AgentName]
    started: list[AgentName] = field(default_factory=list)
    finished: dict[AgentName, ChangeFinished] = field(default_factory=dict)
    end: ApplyFinished | None = None

    def take(self, event: ApplyEvent) -> None:
        """Note one event."""
        match event:
            case ChangeStarted():
                self.started.append(event.agent)
            case ChangeFinished():
                self.finished[event.agent] = event
            case ApplyFinished():
                self.end = event

    @property
    def all_applied(self) -> bool:
        """Whether the apply came to its end and nothing failed or was left out."""
        return bool(
            self.end
            and not (self.end.interrupted or self.end.failed or self.end.skipped)
            and all(event.outcome is Outcome.APPLIED for event in self.finished.values())
        )

    def ended(self) -> tuple[list[AgentName], list[AgentName]]:
        """(applied, ended some other way), each in the order of the plan; what was skipped is in neither."""
        outcomes = {name: event.outcome for name, event in self.finished.items()}
        done = [name for name in self.planned if outcomes.get(name) is Outcome.APPLIED]
        others = (None, Outcome.APPLIED, Outcome.SKIPPED)
        return done, [name for name in self.planned if outcomes.get(name) not in others]

    def unfinished(self) -> tuple[list[AgentName], list[AgentName]]:
        """(in the middle, not started), each in the order of the plan."""
        started = set(self.started)
        done = {name for name, event in self.finished.items() if event.outcome is not Outcome.SKIPPED}
        middle = [name for name in self.planned if name in started and name not in self.finished]
        waiting = [name for name in self.planned if name not in done and name not in started]
        return middle, waiting


def finished_line(event: ChangeFinished, width: int, *, color: bool) -> str:
    """`support/triage   updated   ready 2/2   3.9s`, and below it why, where it failed."""
    ready = f"ready {event.ready}/{event.wanted}" if event.wanted else ""
    text = clean(" ".join(event.text.split()))
    told = paint(text.ljust(TEXT_WIDTH), _COLORS[event.outcome], color=color)
    line = f"{str(event.agent).ljust(width)}   {told} {ready.ljust(READY_WIDTH)} {seconds(event.duration_ms)}"
    reason = [f"    {clean(part)}" for part in event.reason.splitlines()]
    return "\n".join([line, *reason])


def closing(ledger: Ledger) -> str:
    """The last words: how much was applied, what failed, what an interruption left."""
    end = ledger.end
    if end is None:
        return "The apply ended before it could say what it did; `reconciler plan` shows what is left."
    words = [f"Applied {plural(end.applied, 'change')} in {seconds(end.duration_ms)}."]
    if end.failed:
        words.append(f"{end.failed} failed.")
    if end.skipped:
        words.append(f"{end.skipped} not started.")
    words.append(f"Registry revision {end.sequence}.")
    lines = [" ".join(words)]
    if end.interrupted:
        middle, waiting = ledger.unfinished()
        done, failed = ledger.ended()
        lines.append("Interrupted.")
        groups = (
            ("finished", done),
            ("failed, or not finished", failed),
            ("begun, and journalled", middle),
            ("not started", waiting),
        )
        lines += [f"  {what}: {few(names, MAX_NAMES)}" for what, names in groups if names]
        lines.append("`reconciler apply` goes on from here.")
    return "\n".join(lines)


def event_json(event: ApplyEvent) -> str:
    """One event as a line of JSON: `type` in kebab-case, the fields in camelCase, agents as namespace/name."""
    kind = re.sub(r"(?<!^)([A-Z])", r"-\1", type(event).__name__).lower()
    values = {_camel(item.name): _plain(getattr(event, item.name)) for item in fields(event)}
    return json.dumps({"type": kind, **values}, ensure_ascii=False)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, AgentName):
        return str(value)
    if hasattr(value, "__dataclass_fields__"):
        return {_camel(item.name): _plain(getattr(value, item.name)) for item in fields(value)}
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
