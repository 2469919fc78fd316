"""`reconciler registry export`, `import` and `migrate`: the registry as a file, and from SQLite to ArangoDB or back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from reconciler.cli.command import build, invocation
from reconciler.cli.files import writing
from reconciler.cli.fleets import Session, opened, run
from reconciler.cli.output import emit
from reconciler.model.errors import UsageError
from reconciler.model.fleet import ArangoRegistry, SqliteRegistry
from reconciler.model.transfer import Kept
from reconciler.ports import Movable

_NAMES = {
    "record": "agents",
    "revision": "revisions",
    "audit": "audit entries",
    "journal": "journal entries",
    "change": "changes",
    "health-change": "changes of health",
}


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write all that the registry holds into a file, as it is at one moment: one JSON value a line.

    Leases stay where they are. The file holds the specs of agents: it is readable for you alone.
    """
    target = invocation().folder() / file
    if not force and (target.exists() or target.is_symlink()):
        raise UsageError(f"{file} is there already", hint="name another file, or say --force")

    async def work() -> int:
        async with opened() as session, _kept(session) as registry:
            with writing(target, mode=0o600) as stream:
                return await _write(registry, stream)

    emit(f"Wrote {run(work())} values to {file}.")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `registry export` wrote.")],
) -> None:
    """Fill the registry that fleet.yaml names, which must be empty, with an export.

    All of it or nothing: the audit chain is checked entry by entry, and sequence numbers stay as they were.
    """

    async def work() -> Mapping[str, int]:
        async with opened() as session, _kept(session, to_fill=True) as registry:
            with _open(invocation().folder() / file) as stream:
                return await registry.load(_read(stream))

    emit(f"Imported {_told(run(work()))}.")


def migrate(
    to: Annotated[
        str, typer.Option("--to", metavar="TARGET", help="sqlite:FILE, or http(s)://HOST:PORT/DATABASE for ArangoDB.")
    ],
    username_env: Annotated[
        str, typer.Option("--username-env", metavar="NAME", help="Holds the user name at the target.")
    ] = "ARANGO_USER",
    password_env: Annotated[
        str, typer.Option("--password-env", metavar="NAME", help="Holds the password at the target.")
    ] = "ARANGO_PASSWORD",  # noqa: S107 - the name of a variable
    ca_file: Annotated[str, typer.Option("--ca-file", metavar="FILE", help="Certificates to trust there.")] = "",
) -> None:
    """Copy the registry that fleet.yaml names into another one, which must be empty, and say what to write there.

    No apply runs meanwhile. The old registry stays as it is: put the new one into fleet.yaml and commit it.
    """
    target = _target(to, username_env=username_env, password_env=password_env, ca_file=ca_file)

    async def work() -> Mapping[str, int]:
        wait_s = invocation().settings().seconds("lockTimeout") or 0.0
        async with (
            opened() as session,
            _kept(session) as old,
            session.locked(old, wait_s) as lock,
            _kept(session, target, to_fill=True) as new,
        ):

            async def locked() -> AsyncIterator[Kept]:
                async for item in old.export():
                    await lock.keep()
                    yield item

            return await new.load(locked())

    counts = run(work())
    emit(f"Moved {_told(counts)}.\nNow write into fleet.yaml, below spec, and commit it:\n")
    emit(f"  registry: {_entry(target)}")


@asynccontextmanager
async def _kept(
    session: Session, declared: SqliteRegistry | ArangoRegistry | None = None, *, to_fill: bool = False
) -> AsyncIterator[Movable]:
    registry = await session.keeper(declared, to_fill=to_fill)
    try:
        yield registry
    finally:
        await registry.close()


def _target(text: str, *, username_env: str, password_env: str, ca_file: str) -> SqliteRegistry | ArangoRegistry:
    """The registry that `--to` names. Raises UsageError."""
    scheme, colon, rest = text.partition(":")
    if scheme == "sqlite" and colon and rest:
        return SqliteRegistry(path=rest)
    url, _, database = text.rstrip("/").rpartition("/")
    if scheme in ("http", "https") and url.count("/") == 2 and database and "@" not in url:
        return ArangoRegistry(
            url=url, database=database, username_env=username_env, password_env=password_env, ca_file=ca_file
        )
    raise UsageError(
        f"--to {text[:200]!r} names no registry",
        hint="like sqlite:registry.db, or https://registry.example:8529/agents (credentials are in the environment)",
    )


def _entry(target: SqliteRegistry | ArangoRegistry) -> str:
    if isinstance(target, SqliteRegistry):
        return f"{{sqlite: {{path: {target.path}}}}}"
    where = f"url: {target.url!r}, database: {target.database}"
    ca = f", caFile: {target.ca_file!r}" if target.ca_file else ""
    return f"{{arango: {{{where}, usernameEnv: {target.username_env}, passwordEnv: {target.password_env}{ca}}}}}"


def _told(counts: Mapping[str, int]) -> str:
    told = [f"{counts[kind]} {name}" for kind, name in _NAMES.items() if counts.get(kind)]
    return ", ".join(told) or "an empty registry"


async def _write(registry: Movable, stream: IO[bytes]) -> int:
    from reconciler.model.exported import to_line

    count = 0
    async for item in registry.export():
        stream.write(to_line(item))
        count += 1
    return count


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read {str(path)[:300]}: {reason}") from error


async def _read(stream: IO[bytes]) -> AsyncIterator[Kept]:
    from reconciler.model.exported import MAX_LINE, from_line

    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        yield from_line(line, number)


MEMBERS = {
    "export": build(export, name="export", examples=("reconciler registry export fleet.jsonl",)),
    "import": build(import_, name="import", examples=("reconciler registry import fleet.jsonl",)),
    "migrate": build(
        migrate,
        name="migrate",
        examples=("reconciler registry migrate --to https://registry.example:8529/agents",),
    ),
}
