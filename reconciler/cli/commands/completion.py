"""`reconciler completion`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from reconciler.cli.command import build
from reconciler.cli.main import COMPLETE_VARIABLE, PROGRAM
from reconciler.cli.output import emit


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell.", metavar="SHELL")],
) -> None:
    """Print the script that teaches a shell to complete commands and options (bash, zsh or fish).

    For bash: put the line `source <(reconciler completion bash)` into ~/.bashrc.
    """
    from typer import completion as shells

    script: str = shells.get_completion_script(  # type: ignore[attr-defined]  # typer exports no other way to it
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell
    )
    emit(script)


command = build(
    completion,
    name="completion",
    examples=(
        "reconciler completion bash",
        "reconciler completion zsh",
        "reconciler completion fish",
    ),
)
