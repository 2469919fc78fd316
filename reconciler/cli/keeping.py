"""`reconciler registry check`, `backup` and `prune`: looking after what the fleet has on record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.files import refuse_another
from reconciler.cli.fleets import OpenStores, opened, run, whoami
from reconciler.cli.looking import snapshot
from reconciler.cli.output import emit, note, one_line, table, to_json
from reconciler.cli.views.diagnostics import plural
from reconciler.cli.views.records import moment
from reconciler.model.audit import AuditVerdict
from reconciler.model.errors import RegistryError, UsageError
from reconciler.model.invariants import faults_of, feed_faults, history_faults
from reconciler.model.registry import AuditFact, RegistrySnapshot, Write
from reconciler.model.units import Duration
from reconciler.model.upkeep import BackedUp, Fault, Pruned
from reconciler.ports import Registry, Upkeep

LEAST_AGE_MS = 3_600_000
"""History younger than an hour stays: work that is under way may need it."""


def check(output: options.Output = "text") -> None:
    """Check that the registry is whole: how it is kept, the audit chain, and that records agree with one another.

    Looked at are pages, indexes and rows of a file, documents in ArangoDB; the chain of hashes; the change feed;
    revisions; objects and ids that two agents say they own; reservations. It only reads. Exit 1 when something is
    wrong.
    """
    verdict, faults, counts = run(_check())
    if output == "json":
        told = [{"where": fault.where, "what": fault.what} for fault in faults]
        emit(to_json({"sound": not faults, "faults": told, **counts, "auditHead": verdict.head}))
    elif faults:
        emit(table(("WHERE", "WHAT IS WRONG"), [(fault.where, fault.what) for fault in faults]))
        note(f"{plural(len(faults), 'fault')} in the registry. Keep a copy of it before anything else.")
    else:
        emit(
            f"The registry is whole: {plural(counts['agents'], 'agent')}, {plural(counts['changes'], 'change')}, "
            f"{plural(counts['auditEntries'], 'audit entry', 'audit entries')}, head {verdict.head}."
        )
    if faults:
        raise typer.Exit(1)


async def _check() -> tuple[AuditVerdict, list[Fault], dict[str, int]]:
    async with opened() as session:
        registry = (await session.stores()).registry
        faults = list(await registry.integrity()) if isinstance(registry, Upkeep) else []
        verdict = await registry.verify_audit()
        if not verdict.sound:
            faults.append(Fault(where="audit", what=verdict.reason))
        counts = {"agents": 0, "changes": 0, "auditEntries": verdict.count}
        try:
            seen = await snapshot(registry)
            faults += await _between(registry, seen)
            counts |= {"agents": len(seen.records), "changes": seen.seq}
        except RegistryError as error:
            # Usually a row that was named above; what is said of it there is more.
            if not faults:
                faults.append(Fault(where="registry", what=error.message))
        return verdict, list(dict.fromkeys(faults)), counts


async def _between(registry: Registry, seen: RegistrySnapshot) -> list[Fault]:
    """What is wrong between records, and between them and the feed and the history."""
    faults = list(faults_of(seen))
    for name in sorted(seen.records):
        faults += history_faults(seen.records[name], await registry.revisions(name))
    faults += feed_faults([item async for item in registry.changes(0)], seen)
    return faults


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to. A backup that is there is replaced.")],
    output: options.Output = "text",
) -> None:
    """Copy the whole registry into a file, as it is at one moment. Others may write meanwhile.

    The copy is checked before it is put in place, and only its owner can read it. Of a registry in ArangoDB it is an
    export. docs/audit.md says how to go back to it.
    """
    target = invocation().folder() / file
    refuse_another(target, "backup", b"SQLite format 3\0", b'{"kind":"heading"')
    done = run(_backup(target))
    if output == "json":
        emit(
            to_json(
                {
                    "file": str(file),
                    "revision": done.seq,
                    "agents": done.records,
                    "auditEntries": done.audit_seq,
                    "auditHead": done.audit_hash,
                    "bytes": done.size,
                }
            )
        )
        return
    emit(
        f"{one_line(str(file), 300)}: {plural(done.records, 'agent')}, registry revision {done.seq}, "
        f"{plural(done.audit_seq, 'audit entry', 'audit entries')}, head {done.audit_hash}, {done.size} bytes."
    )


async def _backup(target: Path) -> BackedUp:
    async with opened() as session:
        return await _upkeep(await session.stores()).backup(target)


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DURATION", help="Take away what is older, like 90d.")
    ],
    pretend: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    output: options.Output = "text",
) -> None:
    """Take old history away: revisions, lines of the change feed, operations and journal entries that are done.

    Kept whatever its age: of each agent on record the newest revision and the last good one, its last change, and
    what is under way. The audit log is never pruned.
    """
    age = _age(older_than)
    done, before_ms = run(_prune(age, pretend=pretend))
    if output == "json":
        told = {"revisions": done.revisions, "changes": done.changes, "operations": done.operations}
        emit(to_json({"before": moment(before_ms), "dryRun": pretend, **told, "journal": done.journal}))
        return
    verb = "Would take away" if pretend else "Took away"
    emit(
        f"{verb} what is older than {moment(before_ms)}: {plural(done.revisions, 'revision')}, "
        f"{plural(done.changes, 'line')} of the change feed, {plural(done.operations, 'operation')}, "
        f"{plural(done.journal, 'journal entry', 'journal entries')}."
    )


def _age(text: str) -> Duration:
    try:
        age = Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", hint="like 90d or 12h") from error
    if age.ms < LEAST_AGE_MS:
        raise UsageError(f"--older-than {text}: history younger than 1h is kept", hint="like 90d or 12h")
    return age


async def _prune(age: Duration, *, pretend: bool) -> tuple[Pruned, int]:
    async with opened() as session:
        stores = await session.stores()
        now_ms = session.clock.now_ms()
        before_ms = now_ms - age.ms
        fact = AuditFact(actor=whoami(), action="prune", agent=None, message=f"history from before {moment(before_ms)}")
        said = Write(op_id=stores.registry.new_id(), at_ms=now_ms, audit=(fact,))
        done = await _upkeep(stores).prune(before_ms=before_ms, said=None if pretend else said)
        return done, before_ms


def _upkeep(stores: OpenStores) -> Upkeep:
    """The registry, if it is one that we look after. Raises UsageError."""
    if isinstance(stores.registry, Upkeep):
        return stores.registry
    raise UsageError("the registry of this fleet is not looked after by reconciler", hint="use its own tools")


MEMBERS = {
    "check": build(check, name="check", examples=("reconciler registry check", "reconciler registry check -o json")),
    "backup": build(backup, name="backup", examples=("reconciler registry backup ~/registry-backup.db",)),
    "prune": build(
        prune,
        name="prune",
        examples=("reconciler registry prune --older-than 90d --dry-run", "reconciler registry prune --older-than 90d"),
    ),
}
"""The commands, by name."""
