"""`reconciler validate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli.command import build, invocation
from reconciler.cli.failures import show_error
from reconciler.cli.fleets import git_prefix, locate, read_files, run
from reconciler.cli.output import emit, few, note, one_line, wants_color
from reconciler.cli.views.diagnostics import Report, render
from reconciler.model.errors import ReconcilerError, UsageError
from reconciler.model.source import Severity

COULD_NOT_RUN = 2
WHOLE = "."
MAX_UNREAD = 3
READ = "a fleet's files end with .yaml or .yml, lie in no hidden folder, and are not ignored by Git"


def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Only tell findings in these files and folders.")
    ] = None,
    output_format: Annotated[
        Literal["text", "concise", "json", "github", "gitlab", "junit", "sarif"],
        typer.Option("-o", "--output", "--output-format", help="Format of the findings."),
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as findings too.")] = False,
) -> None:
    """Find mistakes in the files as they are, committed or not, without a cluster.

    Exit 0 without findings, 1 with findings, 2 where there is nothing to look at: no fleet, or none of its files among
    those that are named. Warnings alone exit 0.
    """
    try:
        settings = invocation().settings()
        location = locate()
        declaration, read = run(read_files())
        asked = sorted({_inside(location.root, file) for file in files or ()})
        asked = _read_of(asked, read)
    except ReconcilerError as error:
        show_error(error.message, error.hint)
        raise typer.Exit(COULD_NOT_RUN) from error
    report = Report(
        findings=[finding for finding in declaration.diagnostics if _is_asked(finding.position.path, asked)],
        files=declaration.files,
        agents=len(declaration.agents),
        prefix=git_prefix(location),
        asked=() if WHOLE in asked else asked,
    )
    emit(render(report, output_format, color=wants_color(settings.text("color"), sys.stdout, os.environ)))
    if report.count(Severity.ERROR) or (strict and report.findings):
        raise typer.Exit(1)


def _read_of(asked: list[str], read: Collection[str]) -> list[str]:
    """What was read of that which was asked for; the rest is told. Raises UsageError where that is all."""
    unread = [one for one in asked if not any(_is_asked(path, (one,)) for path in read)]
    if not unread or WHOLE in asked:
        return asked
    shown = few(unread, MAX_UNREAD, lambda one: one_line(one, 100))
    if len(unread) == len(asked):
        raise UsageError(f"nothing to look at: no file of the fleet is in {shown}", hint=READ)
    note(f"Not looked at: {shown}; {READ}.")
    return [one for one in asked if one not in unread]


def _is_asked(path: str, asked: Sequence[str]) -> bool:
    """Whether a file is one of those asked for, or below one; all are where nothing was, or the fleet's folder."""
    return not asked or WHOLE in asked or any(path == one or path.startswith(f"{one}/") for one in asked)


def _inside(root: Path, file: Path) -> str:
    """A file's path as findings name it. Raises UsageError for one that is not the fleet's."""
    path = (invocation().folder() / file).absolute()
    try:
        relative = path.resolve().relative_to(root.resolve())
    except (ValueError, OSError, RuntimeError) as error:
        raise UsageError(f"{str(file)[:300]} is not in the fleet's folder {root}") from error
    if not path.exists():
        elsewhere = invocation().directory is not None and file.exists()
        hint = f"paths begin at {str(invocation().folder())[:300]}, which -C names" if elsewhere else ""
        raise UsageError(f"there is no file {str(file)[:300]}", hint=hint)
    return relative.as_posix()


command = build(
    validate,
    name="validate",
    examples=(
        "reconciler validate",
        "reconciler validate agents/demo templates/base.yaml",
        "reconciler validate --output-format sarif > findings.sarif",
    ),
)
