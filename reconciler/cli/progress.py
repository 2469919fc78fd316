"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
from types import TracebackType
from typing import Any, Self

from reconciler.cli.output import clean, emit, note, terminal
from reconciler.cli.views.apply import finished_line
from reconciler.model.events import ApplyEvent, ChangeFinished, ChangeStarted, Overridden, RolloutProgress
from reconciler.model.identity import AgentName

_COUNTS = re.compile(r"[0-9]+ (?!of )")


class Lines:
    """For logs and pipes: a line whenever the number of ready pods, or what is waited for, changes."""

    def __init__(self, width: int, *, color: bool) -> None:
        self.width = width
        self.color = color
        self._last: dict[AgentName, tuple[int, int, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing to put back."""

    def take(self, event: ApplyEvent) -> None:
        """Show one event."""
        match event:
            case RolloutProgress():
                state = (event.ready, event.wanted, event.text)
                if self._last.get(event.agent) != state:
                    self._last[event.agent] = state
                    what = f"; {waits(event.text)}" if event.text else ""
                    note(f"{event.agent}: {event.ready}/{event.wanted} ready{what}")
            case Overridden():
                note(overridden(event))
            case ChangeFinished():
                emit(finished_line(event, self.width, color=self.color))


class Bars(Lines):
    """For terminals: one bar an agent while it rolls out, replaced by its line when it is done."""

    def __init__(self, width: int, *, color: bool) -> None:
        super().__init__(width, color=color)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f} ready", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            console=Console(stderr=True, markup=False, emoji=False, highlight=False, no_color=not color),
            transient=True,
        )
        self._tasks: dict[AgentName, Any] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def take(self, event: ApplyEvent) -> None:
        match event:
            case ChangeStarted():
                self._tasks[event.agent] = self._bars.add_task(str(event.agent).ljust(self.width), total=1, what="")
            case RolloutProgress() if event.agent in self._tasks:
                what = waits(event.text)[:80]
                self._bars.update(
                    self._tasks[event.agent], completed=event.ready, total=max(event.wanted, 1), what=what
                )
            case ChangeFinished():
                task = self._tasks.pop(event.agent, None)
                if task is not None:
                    self._bars.remove_task(task)
                line = finished_line(event, self.width, color=self.color)
                self._above(line) if terminal(sys.stdout) else emit(line)
            case Overridden():
                self._bars.console.print(overridden(event), soft_wrap=True)

    def _above(self, line: str) -> None:
        """Print above the bars: stdout and stderr are the same screen here."""
        from rich.text import Text

        self._bars.console.print(Text.from_ansi(line), soft_wrap=True)


def waits(text: str) -> str:
    """What is waited for. Counts of pods are of old ones too, while only new ones count as ready: it says so."""
    told = clean(text)
    return f"pods, old and new: {told}" if _COUNTS.match(told) else told


def overridden(event: Overridden) -> str:
    """Whom a hand edit that was undone belonged to."""
    drift = event.drift
    return clean(f"{event.agent}: {drift.ref} {drift.path} was set by {drift.manager or 'nobody known'}: undone")


def progress(width: int, *, color: bool) -> Lines:
    """Bars where stderr is a terminal, lines elsewhere."""
    return Bars(width, color=color) if terminal(sys.stderr) else Lines(width, color=color)
