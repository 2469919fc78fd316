"""`reconciler version`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from reconciler.cli.command import build
from reconciler.cli.output import emit, to_json


def version(
    output: Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="Format.")] = "text",
) -> None:
    """Say which version this is, and what it runs on."""
    import platform

    from reconciler import __version__
    from reconciler.model.objects import API_VERSION

    if output == "json":
        facts = {
            "version": __version__,
            "apiVersion": API_VERSION,
            "python": platform.python_version(),
            "platform": platform.platform(),
        }
        emit(to_json(facts))
    else:
        emit(f"reconciler {__version__} (Python {platform.python_version()}, {platform.system()})")


command = build(version, name="version", examples=("reconciler version", "reconciler version -o json"))
