"""`reconciler audit`: the record of who did what, and whether it is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import auditing, options
from reconciler.cli.auditing import Wanted
from reconciler.cli.command import build, group, invocation
from reconciler.cli.files import refuse_another, write_atomically, writing
from reconciler.cli.fleets import opened, run
from reconciler.cli.output import emit, note, one_line, table, to_json
from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.records import audit_json, moment
from reconciler.model.audit import AuditVerdict
from reconciler.model.checkpoint import NAMESPACE, Checkpoint, signed_bytes, to_file
from reconciler.model.errors import UsageError
from reconciler.model.registry import AuditEntry

HEADERS = ("SEQ", "AT", "BY", "ACTION", "AGENT", "COMMIT", "WHAT")


def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An exported chain, instead of the one in the registry.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Hold the chain against this checkpoint; needs --key."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PUB", help="The public key (.pub) that the checkpoint must be signed with."),
    ] = None,
    output: options.Output = "text",
) -> None:
    """Check the whole audit chain, entry by entry. Exit 1 when an entry was changed, removed, moved or put in.

    By itself a chain cannot tell that all of it was written anew. A checkpoint can, or a head that was kept elsewhere.
    """
    if (checkpoint is None) != (key is None):
        raise UsageError(
            "--checkpoint and --key go together", hint="a signature says nothing without the key that it should be of"
        )
    held, signer = auditing.read_checkpoint(checkpoint, key) if checkpoint and key else (None, "")
    verdict = auditing.verify_file(invocation().folder() / file, held) if file else run(_verify(held))
    _show_verdict(verdict, held, signer, output)
    if not verdict.sound:
        raise typer.Exit(1)


async def _verify(held: Checkpoint | None) -> AuditVerdict:
    async with opened() as session:
        stores = await session.stores()
        if held is not None and held.fleet != stores.fleet.name:
            raise UsageError(f"the checkpoint is of fleet {one_line(held.fleet, 60)}, and this is {stores.fleet.name}")
        return await auditing.verify_registry(stores.registry, held)


def _show_verdict(verdict: AuditVerdict, held: Checkpoint | None, signer: str, output: str) -> None:
    if output == "json":
        told = {"sound": verdict.sound, "entries": verdict.count, "head": verdict.head, "reason": verdict.reason}
        emit(to_json(told | {"brokenAt": verdict.broken_seq, "checkpoint": _checkpoint_json(held, signer)}))
        return
    if verdict.sound:
        emit(f"The audit chain is whole: {_entries(verdict.count)}, head {verdict.head}.")
    else:
        emit(f"The audit chain is broken: {verdict.reason}. {verdict.count} before it are sound, head {verdict.head}.")
    if held is not None and verdict.sound:
        emit(
            f"It still holds what the checkpoint of {moment(held.at_ms)} saw, up to entry {held.seq}, "
            f"signed by {signer}."
        )


def _checkpoint_json(held: Checkpoint | None, signer: str) -> dict[str, object] | None:
    if held is None:
        return None
    return {"fleet": held.fleet, "seq": held.seq, "hash": held.hash, "at": moment(held.at_ms), "signedBy": signer}


def _entries(count: int) -> str:
    return plural(count, "entry", "entries")


def list_(
    agent: Annotated[str | None, typer.Argument(metavar="[NAMESPACE/NAME]", help="Only this agent.")] = None,
    actor: Annotated[
        str, typer.Option("--actor", metavar="PATTERN", help="Only what was done by these, like 'ada@*'.")
    ] = "",
    action: Annotated[
        str, typer.Option("--action", metavar="PATTERN", help="Only actions of this kind, like delete or 'roll*'.")
    ] = "",
    since: Annotated[
        str,
        typer.Option("--since", metavar="SEQ|AGE|TIME", help="Only entries after this one, or not older than this."),
    ] = "0",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Only the N newest (0: all).")] = 0,
    output: options.Output = "text",
) -> None:
    """List the entries of the audit chain, oldest first. JSON is one entry a line."""
    name = options.agent_name(agent) if agent else None
    run(_list(Wanted(agent=name, actor=actor, action=action, limit=limit), since, as_json=output == "json"))


async def _list(wanted: Wanted, since: str, *, as_json: bool) -> None:
    async with opened() as session:
        after_seq, since_ms = auditing.since(since, session.clock.now_ms())
        wanted = replace(wanted, after_seq=after_seq, since_ms=since_ms)
        rows = []
        async for entry in wanted.of((await session.stores()).registry):
            if as_json:
                emit(json.dumps(audit_json(entry), ensure_ascii=False))
            else:
                rows.append(_row(entry))
        if rows:
            emit(table(HEADERS, rows))
        elif not as_json:
            note("No such entries.")


def _row(entry: AuditEntry) -> tuple[str, ...]:
    fact = entry.fact
    return (
        str(entry.seq),
        moment(entry.at_ms),
        fact.actor or "-",
        fact.action,
        str(fact.agent or "-"),
        fact.commit[:7] or "-",
        fact.message or "-",
    )


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to. An export that is there is replaced.")],
    output: options.Output = "text",
) -> None:
    """Write the whole audit chain to a file, one entry a line, as JSON with hashes.

    `reconciler audit verify FILE` checks it anywhere, without the fleet. It is written as it is: exit 1 when the chain
    is broken. It says what agents were made of, so only its owner can read it.
    """
    target = invocation().folder() / file
    refuse_another(target, "export of an audit", b'{"at_ms":')
    verdict = run(_export(target))
    shown = one_line(str(file), 300)
    if output == "json":
        told = {"file": str(file), "sound": verdict.sound, "entries": verdict.count, "head": verdict.head}
        emit(to_json(told | {"reason": verdict.reason, "brokenAt": verdict.broken_seq}))
    elif verdict.sound:
        emit(f"{shown}: {_entries(verdict.count)}, head {verdict.head}.")
    else:
        emit(f"{shown}: all that is there, but the chain is broken: {verdict.reason}.")
    if not verdict.sound:
        raise typer.Exit(1)


async def _export(path: Path) -> AuditVerdict:
    async with opened() as session:
        registry = (await session.stores()).registry
        with writing(path, mode=0o600) as stream:
            return await auditing.export(registry, stream)


def checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to. A file that is there is replaced.")],
    key: Annotated[
        Path, typer.Option("--key", metavar="KEY", help="A private Ed25519 key of OpenSSH, or the .pub of an agent's.")
    ],
    output: options.Output = "text",
) -> None:
    """Write where the audit chain ends now, signed: keep it where those who run this fleet cannot change it.

    Signed is by ssh-keygen, with a key as people use for Git. `audit verify --checkpoint FILE --key PUB` tells later
    whether the chain still holds what it held now.
    """
    held = run(_checkpoint(file, key))
    if output == "json":
        emit(to_json({"file": str(file), "fleet": held.fleet, "seq": held.seq, "hash": held.hash}))
        return
    emit(f"{one_line(str(file), 300)}: {held.fleet} at entry {held.seq}, head {held.hash}.")


async def _checkpoint(file: Path, key: Path) -> Checkpoint:
    from reconciler.bootstrap import signer

    folder = invocation().folder()
    async with opened() as session:
        stores = await session.stores()
        verdict = await auditing.end_of(stores.registry)
        now_ms = session.clock.now_ms()
        held = Checkpoint(fleet=stores.fleet.name, seq=verdict.count, hash=verdict.head, at_ms=now_ms)
    signature = signer().sign(signed_bytes(held), folder / key, purpose=NAMESPACE)
    write_atomically(folder / file, to_file(held, signature))
    return held


command = group(
    "audit",
    "The record of who did what, as a chain of hashes. Without a command it lists entries, as `audit list` does.",
    {
        "list": build(
            list_,
            name="list",
            examples=(
                "reconciler audit list",
                "reconciler audit demo/hello --since 24h",
                "reconciler audit --actor 'ada@*' --action 'delete' --limit 20 -o json",
            ),
        ),
        "verify": build(
            verify,
            name="verify",
            examples=(
                "reconciler audit verify",
                "reconciler audit verify audit.jsonl",
                "reconciler audit verify --checkpoint monday.json --key ~/.ssh/id_ed25519.pub",
            ),
        ),
        "export": build(export, name="export", examples=("reconciler audit export audit.jsonl",)),
        "checkpoint": build(
            checkpoint, name="checkpoint", examples=("reconciler audit checkpoint monday.json --key ~/.ssh/id_ed25519",)
        ),
    },
    plain="list",
)
