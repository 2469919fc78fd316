"""The history of an agent: each revision held against the one before it, who brought it, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.plan_text import attribute_lines
from reconciler.cli.views.records import moment, revision_json
from reconciler.model.plan import AttributeChange
from reconciler.model.registry import AgentRevision, AuditEntry
from reconciler.plan.attributes import compare
from reconciler.plan.document import attribute_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A revision, who applied it ("" where that is not on record), and what it changed; secrets are masked.

    `before` is the number of the revision that it is held against: 0 for the first that is kept.
    """

    revision: AgentRevision
    actor: str
    before: int
    changes: tuple[AttributeChange, ...]
    unchanged: int

    @property
    def told(self) -> str:
        """What to say where no field changed, "" where some did or there is nothing to compare with."""
        if self.changes or not self.before:
            return ""
        return f"the same as revision {self.before}"


def steps(revisions: Sequence[AgentRevision], entries: Sequence[AuditEntry]) -> tuple[Step, ...]:
    """The revisions of an agent, newest first, each beside the one that was applied before it.

    In order of time and not of numbers: an agent that was deleted and came back begins again with 1.
    """
    ordered = sorted(revisions, key=lambda one: (one.at_ms, one.number))
    made = []
    for index, revision in enumerate(ordered):
        older = ordered[index - 1] if index else None
        changes, unchanged = (
            compare(older.document, revision.document, sensitive=frozenset(), origin=lambda _: None)
            if older
            else ((), 0)
        )
        made.append(
            Step(
                revision=revision,
                actor=_actor(revision, entries),
                before=older.number if older else 0,
                changes=changes,
                unchanged=unchanged,
            )
        )
    return tuple(reversed(made))


def _actor(revision: AgentRevision, entries: Sequence[AuditEntry]) -> str:
    """Who wrote the audit entry that stands nearest in time to a revision, of those of its commit."""
    near = [entry for entry in entries if entry.fact.commit == revision.commit and entry.fact.actor]
    return min(near, key=lambda entry: abs(entry.at_ms - revision.at_ms)).fact.actor if near else ""


def step_rows(made: Sequence[Step]) -> list[tuple[str, ...]]:
    """Rows of the table: number, time, who, commit, outcome."""
    return [
        (
            str(step.revision.number),
            moment(step.revision.at_ms),
            step.actor or "-",
            step.revision.commit[:7] or "-",
            step.revision.outcome,
        )
        for step in made
    ]


def step_lines(step: Step, *, color: bool) -> Iterator[str]:
    """What a revision changed, as a plan shows it."""
    if not step.before:
        return
    yield f"# revision {step.revision.number}, after {step.before}"
    if step.told:
        yield f"      # {step.told}"
    for change in step.changes:
        yield from attribute_lines(change, scale=False, color=color)
    if step.changes and step.unchanged:
        yield f"        # ({plural(step.unchanged, 'unchanged attribute')} hidden)"


def step_json(step: Step) -> dict[str, Any]:
    """A revision with what it changed."""
    return revision_json(step.revision) | {
        "actor": step.actor,
        "after": step.before or None,
        "changes": [attribute_document(change) for change in step.changes],
        "unchanged": step.unchanged,
    }
