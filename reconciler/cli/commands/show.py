"""`reconciler show`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.output import emit, wants_color
from reconciler.cli.planning import shown_plan


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan saved by `plan --out`.")],
    output: options.PlanOutput = "text",
) -> None:
    """Show a saved plan as it was when it was made. Whether it still holds is what `apply FILE` finds out."""
    from reconciler.cli.savedplan import plan_of, read_saved

    settings = invocation().settings()
    plan = plan_of(read_saved(invocation().folder() / file))
    emit(shown_plan(plan, output, color=wants_color(settings.text("color"), sys.stdout, os.environ)))


command = build(
    show,
    name="show",
    examples=(
        "reconciler plan --out next.plan && reconciler show next.plan",
        "reconciler plan --out next.plan && reconciler show next.plan -o json",
    ),
)
