"""`reconciler schema`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.command import build, invocation
from reconciler.cli.files import write_atomically
from reconciler.cli.fleets import locate
from reconciler.cli.output import emit, note
from reconciler.cli.schemas import schema_files
from reconciler.model.errors import UsageError


def schema(
    kind: Annotated[
        str | None, typer.Argument(metavar="[fleet|agenttemplate|agent]", help="Print the schema of this kind.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIR", help="Write all schemas into a folder.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="DIR", help="Exit 1 when the schemas in a folder are out of date.")
    ] = None,
) -> None:
    """Write the JSON Schemas (2020-12) of the files, for editors; without arguments into .schemas/ of the fleet."""
    files = schema_files()
    if (kind is not None) + (write is not None) + (check is not None) > 1:
        raise UsageError("a kind, --write and --check exclude each other")
    if kind is not None:
        name = f"{kind.lower()}.json"
        if name not in files:
            raise UsageError(f"no schema for {kind[:60]!r}", hint="kinds are fleet, agenttemplate and agent")
        emit(files[name], end="")
    elif check is not None:
        _check(invocation().folder() / check, files)
    else:
        folder = invocation().folder() / write if write is not None else locate().root / ".schemas"
        _write(folder, files)
        note(f"Wrote {len(files)} schemas to {folder}.")


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {str(folder)[:300]}: {error.strerror}") from error
    for name, text in files.items():
        write_atomically(folder / name, text.encode())


def _check(folder: Path, files: dict[str, str]) -> None:
    stale = [
        name
        for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8", errors="replace") != text
    ]
    if stale:
        raise UsageError(
            f"out of date in {folder}: {', '.join(stale)}",
            hint=f"write them with `reconciler schema --write {shlex.quote(str(folder))}`",
        )
    emit(f"The schemas in {folder} are up to date.")


command = build(
    schema,
    name="schema",
    examples=(
        "reconciler schema",
        "reconciler schema agent",
        "reconciler schema --write schemas",
        "reconciler schema --check .schemas",
    ),
)
