"""`reconciler history`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import opened, run
from reconciler.cli.output import emit, table, to_json, wants_color
from reconciler.cli.views.history import step_json, step_lines, step_rows, steps
from reconciler.cli.views.records import audit_json, moment
from reconciler.cli.views.trend import change_rows, trend_lines
from reconciler.health.plain import change_json, trend_json
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentRevision, AuditEntry
from reconciler.model.series import HealthChange
from reconciler.model.trend import Trend


def history(agent: options.Agent, namespace: options.InNamespace = None, output: options.Output = "text") -> None:
    """Show the revisions of an agent that were applied, newest first: when, by whom, of which commit, what became of
    each, and what it changed. Then all that was done to the agent since its beginning, recoveries among it, and the
    changes of its health where a daemon has kept them.

    An agent that is gone keeps its history, until `reconciler registry prune` takes what is old. Values that look
    secret are not shown.
    """
    name = options.agent_named(agent, namespace)
    revisions, entries, health = run(_read(name))
    if not revisions and not entries:
        raise UsageError(f"{name} has no history: it was never applied", hint="`reconciler get agents` lists agents")
    made = steps(revisions, entries)
    if output == "json":
        emit(
            to_json(
                {
                    "agent": str(name),
                    "revisions": [step_json(step) for step in made],
                    "entries": [audit_json(entry) for entry in entries],
                    "health": health.plain(),
                }
            )
        )
        return
    color = wants_color(invocation().settings().text("color"), sys.stdout, os.environ)
    emit(table(("REVISION", "AT", "BY", "COMMIT", "OUTCOME"), step_rows(made)))
    for step in made:
        if lines := list(step_lines(step, color=color)):
            emit("\n" + "\n".join(lines))
    emit("")
    emit(table(("AT", "BY", "ACTION", "COMMIT", "WHAT"), [audit_row(entry) for entry in reversed(entries)]))
    if health.trend is not None:
        emit("")
        emit(table(("AT", "HEALTH", "FOR", "WHAT"), change_rows(health.changes, health.trend.at_ms)))
        for line in trend_lines(health.trend):
            emit(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The history of an agent's health; `trend` is None where none is on record."""

    changes: tuple[HealthChange, ...]
    trend: Trend | None

    def plain(self) -> dict[str, Any]:
        """In JSON values. Where latency goes depends on the limit that Git declares: `health --trend` tells that."""
        trend = trend_json(self.trend) if self.trend is not None else {}
        trend.pop("latency", None)
        return trend | {"changes": [change_json(change) for change in reversed(self.changes)]}


def audit_row(entry: AuditEntry) -> tuple[str, ...]:
    """When, who, what, of which commit, and why."""
    fact = entry.fact
    return (moment(entry.at_ms), fact.actor or "-", fact.action, fact.commit[:7] or "-", fact.message or "-")


async def _read(name: AgentName) -> tuple[tuple[AgentRevision, ...], list[AuditEntry], Health]:
    from reconciler.engine.trends import trend_on_record

    async with opened() as session:
        registry = (await session.stores()).registry
        revisions, entries = await registry.revisions(name), [entry async for entry in registry.audit(name=name)]
        health = Health(
            changes=await registry.health_changes(name, since_ms=0),
            trend=await trend_on_record(registry, name, None, now_ms=session.clock.now_ms()),
        )
        return revisions, entries, health


command = build(
    history, name="history", examples=("reconciler history demo/hello", "reconciler history demo/hello -o json")
)
