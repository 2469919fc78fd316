"""`reconciler config`: settings, and where each comes from."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from reconciler.cli.command import build, group, invocation
from reconciler.cli.output import emit, table, to_json
from reconciler.cli.settings import SETTINGS


def view(
    show_origin: Annotated[bool, typer.Option("--show-origin", help="Say where each value was set.")] = False,
    output: Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="Format.")] = "table",
) -> None:
    """Show all settings. A flag wins over the environment, that over reconciler.yaml, that over the default."""
    settings = invocation().settings()
    if output == "json":
        emit(to_json({key: {"value": value.text, "origin": value.origin} for key, value in settings.values.items()}))
        return
    headers = ["SETTING", "VALUE", *(["ORIGIN"] if show_origin else []), "MEANING"]
    rows = [
        [key, value.text or '""', *([value.origin] if show_origin else []), SETTINGS[key].text]
        for key, value in settings.values.items()
    ]
    emit(table(headers, rows))


command = group(
    "config",
    "Settings: `name: value` lines in reconciler.yaml, RECONCILER_* variables, or flags.",
    {
        "view": build(
            view,
            name="view",
            examples=("reconciler config view --show-origin", "RECONCILER_COLOR=never reconciler config view -o json"),
        )
    },
)
