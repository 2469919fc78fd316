"""`reconciler history`."""

from __future__ import annotations

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import opened, run
from reconciler.cli.output import emit, table, to_json
from reconciler.cli.views.records import audit_json, moment, revision_json
from reconciler.model.errors import UsageError
from reconciler.model.identity import AgentName
from reconciler.model.registry import AgentRevision, AuditEntry


def history(agent: options.Agent, output: options.Output = "text") -> None:
    """Show the revisions of an agent that were applied, newest first, and what was done to it since its beginning.

    An agent that is gone keeps its history.
    """
    name = options.agent_name(agent)
    revisions, entries = run(_read(name))
    if not revisions and not entries:
        raise UsageError(f"{name} has no history: it was never applied", hint="`reconciler get agents` lists agents")
    if output == "json":
        emit(
            to_json(
                {
                    "agent": str(name),
                    "revisions": [revision_json(revision) for revision in revisions],
                    "entries": [audit_json(entry) for entry in entries],
                }
            )
        )
        return
    rows = [(str(r.number), moment(r.at_ms), r.commit[:7] or "-", r.outcome) for r in revisions]
    emit(table(("REVISION", "AT", "COMMIT", "OUTCOME"), rows))
    emit("")
    emit(table(("AT", "BY", "ACTION", "COMMIT", "WHAT"), [audit_row(entry) for entry in reversed(entries)]))


def audit_row(entry: AuditEntry) -> tuple[str, ...]:
    fact = entry.fact
    return (moment(entry.at_ms), fact.actor or "-", fact.action, fact.commit[:7] or "-", fact.message or "-")


async def _read(name: AgentName) -> tuple[tuple[AgentRevision, ...], list[AuditEntry]]:
    async with opened() as session:
        revisions = await (await session.stores()).registry.revisions(name)
        return revisions, [entry async for entry in (await session.stores()).registry.audit(name=name)]


command = build(
    history, name="history", examples=("reconciler history demo/hello", "reconciler history demo/hello -o json")
)
