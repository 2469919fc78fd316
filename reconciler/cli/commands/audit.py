"""`reconciler audit`: the record of who did what, and whether it is whole."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.command import build, group
from reconciler.cli.fleets import opened, run
from reconciler.cli.output import emit, table, to_json
from reconciler.cli.views.records import audit_json, moment
from reconciler.model.audit import AuditVerdict
from reconciler.model.identity import AgentName


def verify(output: options.Output = "text") -> None:
    """Check the whole audit chain, entry by entry. Exit 1 when an entry was changed, removed or put in.

    Keep the head that is printed somewhere else: it tells later whether the whole chain was written anew.
    """

    async def work() -> AuditVerdict:
        async with opened() as session:
            return await (await session.stores()).registry.verify_audit()

    verdict = run(work())
    if output == "json":
        told = {"sound": verdict.sound, "entries": verdict.count, "head": verdict.head, "reason": verdict.reason}
        emit(to_json(told | {"brokenAt": verdict.broken_seq}))
    elif verdict.sound:
        entries = "1 entry" if verdict.count == 1 else f"{verdict.count} entries"
        emit(f"The audit chain is whole: {entries}, head {verdict.head}.")
    else:
        emit(f"The audit chain is broken: {verdict.reason}. {verdict.count} before it are sound, head {verdict.head}.")
    if not verdict.sound:
        raise typer.Exit(1)


def list_(
    agent: Annotated[str | None, typer.Argument(metavar="[NAMESPACE/NAME]", help="Only this agent.")] = None,
    output: options.Output = "text",
    since: Annotated[int, typer.Option("--since", metavar="SEQ", min=0, help="Only entries after this one.")] = 0,
) -> None:
    """List the entries of the audit chain, oldest first. JSON is one entry a line."""
    name = options.agent_name(agent) if agent else None
    run(_list(name, since, as_json=output == "json"))


async def _list(name: AgentName | None, since: int, *, as_json: bool) -> None:
    async with opened() as session:
        rows = []
        async for entry in (await session.stores()).registry.audit(name=name, since=since):
            if as_json:
                emit(json.dumps(audit_json(entry), ensure_ascii=False))
                continue
            fact = entry.fact
            rows.append(
                (
                    str(entry.seq),
                    moment(entry.at_ms),
                    fact.actor or "-",
                    fact.action,
                    str(fact.agent or "-"),
                    fact.commit[:7] or "-",
                    fact.message or "-",
                )
            )
        if not as_json:
            emit(table(("SEQ", "AT", "BY", "ACTION", "AGENT", "COMMIT", "WHAT"), rows))


command = group(
    "audit",
    "The record of who did what, as a chain of hashes.",
    {
        "verify": build(verify, name="verify", examples=("reconciler audit verify", "reconciler audit verify -o json")),
        "list": build(
            list_, name="list", examples=("reconciler audit list", "reconciler audit list demo/hello -o json")
        ),
    },
)
