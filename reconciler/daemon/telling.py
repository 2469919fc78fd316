"""What a daemon says while it runs: one line a decision, for people or as JSON. No secrets: plans hold none.

Decides nothing, and never fails: a log that cannot be written stops no reconciliation.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from reconciler.model.errors import ReconcilerError
from reconciler.model.events import ApplyEvent, ChangeFinished, ChangeStarted, Outcome, Overridden
from reconciler.model.identity import AgentName
from reconciler.model.plan import Action, Drift, Hold, Plan
from reconciler.ports import Clock

LEVELS = ("debug", "info", "warning", "error")
MAX_TEXT = 2_000
MAX_NAMES = 20
"""Agents that one line names at most."""
_SECONDS = re.compile(r"\d+ s\b")


@dataclass(slots=True, kw_only=True)
class Teller:
    """Writes lines with `write`; `as_json` one JSON object a line, else `TIME LEVEL EVENT key=value ...`.

    What repeats pass after pass (the same plan, the same failure) is told once, and again when it changes.
    """

    clock: Clock
    write: Callable[[str], None]
    as_json: bool = False
    level: str = "info"
    _last: dict[str, object] = field(default_factory=dict)

    def say(self, level: str, event: str, **facts: Any) -> None:
        """One line. `facts` are JSON values; empty ones are left out."""
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        kept = {key: _bounded(value) for key, value in facts.items() if value not in ("", None, (), [])}
        line = {"at_ms": self.clock.now_ms(), "level": level, "event": event, **kept}
        with suppress(OSError):
            self.write(json.dumps(line, ensure_ascii=False) if self.as_json else _text(line))

    def planned(
        self, plan: Plan, reasons: Collection[str], busy: Collection[AgentName], *, alone: bool = False
    ) -> None:
        """A pass that ended in a plan. `alone`: nothing else will tell what it is about, so this names the agents."""
        fresh = [change.action for change in plan.changes if change.name not in busy]
        counts = {action.value: number for action in Action if (number := fresh.count(action))}
        held = [_hold(hold) for hold in plan.holds if hold.blocks_exit]
        unread = [f"{item.source}: {item.problem}" for item in plan.completeness if item.problem]
        facts: dict[str, Any] = {
            "commit": plan.revision.commit[:12], "changes": counts, "held": held, "unreadable": unread,
            "findings": len(plan.diagnostics) or None,
            "found": _some([f"{finding.position}: {finding.message}" for finding in plan.diagnostics]),
        }  # fmt: skip
        if alone:
            facts["would"] = _some([f"{change.action.value} {change.name}" for change in plan.changes])
            drifted = (*plan.drift, *(drift for change in plan.changes for drift in change.drift))
            facts["drifted"] = _some([_where(drift) for drift in drifted])
        level = "info" if self._news("plan", facts) else "debug"
        self.say(level, "planned", **facts, busy=len(busy) or None, because=list(reasons))

    def event(self, event: ApplyEvent) -> None:
        """What the engine reports."""
        match event:
            case ChangeStarted(agent=agent, action=action):
                self.say("info", "change-started", agent=str(agent), action=action.value)
            case ChangeFinished() as end:
                self.say(
                    "info" if end.outcome is Outcome.APPLIED else "warning",
                    "change-ended",
                    agent=str(end.agent),
                    action=end.action.value,
                    outcome=end.outcome.value,
                    text=end.text,
                    ready=f"{end.ready}/{end.wanted}" if end.wanted else "",
                    duration_ms=end.duration_ms,
                    reason=end.reason,
                )
            case Overridden(agent=agent, drift=drift):
                self.say("warning", "hand-edit-undone", agent=str(agent), path=drift.path, manager=drift.manager)
            case _:
                pass

    def well(self) -> None:
        """A pass went through: what fails after it is news."""
        self._last.pop("failure", None)

    def locks(self) -> None:
        """The apply lock is ours: who has it next is news."""
        self._last.pop("lock", None)

    def failed(self, error: ReconcilerError, pause_s: float) -> None:
        """A pass that made no plan."""
        level = "error" if self._news("failure", error.message) else "debug"
        self.say(level, "pass-failed", error=error.message, hint=error.hint, again_in_s=round(pause_s, 1))

    def without_source(self, error: ReconcilerError, commit: str) -> None:
        """What is followed cannot be read: what it declared last counts on."""
        level = "warning" if self._news("source", error.message) else "debug"
        self.say(level, "source-away", reason=error.message, hint=error.hint, goes_on_with=commit[:12])

    def with_source(self) -> None:
        """What is followed can be read: where it cannot later, that is news."""
        if self._last.pop("source", None) is not None:
            self.say("info", "source-back")

    def waits(self, why: str) -> None:
        """The apply lock is somebody else's."""
        self.say("info" if self._news("lock", unhurried(why)) else "debug", "waits-for-lock", reason=why)

    def broke(self, error: BaseException) -> None:
        """Work ended by something that is no outcome."""
        self.say("error", "work-broke-off", error=f"{type(error).__name__}: {error}")

    def _news(self, what: str, value: object) -> bool:
        known = self._last.get(what)
        self._last[what] = value
        return known != value


class Logged(logging.Handler):
    """Tells what libraries log, so that no line on stderr is of another form."""

    def __init__(self, tell: Teller) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._tell.say(level, "logged", by=record.name, text=record.getMessage())


def unhurried(text: str) -> str:
    """A text without its seconds: one that counts down is the same text still."""
    return _SECONDS.sub("", text)


def _hold(hold: Hold) -> str:
    """Whom it is about, unless it begins with that itself."""
    names = ", ".join(map(str, hold.agents))
    return hold.text if hold.text.startswith(names) else f"{names}: {hold.text}"


def _where(drift: Drift) -> str:
    ref = drift.ref
    return f"{drift.cluster}: {ref.kind} {ref.namespace}/{ref.name} {drift.path}"


def _some(lines: list[str]) -> list[str]:
    return [*lines[:MAX_NAMES], f"{len(lines) - MAX_NAMES} more"] if len(lines) > MAX_NAMES else lines


def _bounded(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _text(line: Mapping[str, Any]) -> str:
    rest = " ".join(f"{key}={_shown(value)}" for key, value in line.items() if key not in {"at_ms", "level", "event"})
    at = datetime.fromtimestamp(line["at_ms"] / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"{at}Z {line['level']:<7} {line['event']} {rest}".rstrip()


def _shown(value: Any) -> str:
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    return value if plain else json.dumps(value, ensure_ascii=False)
