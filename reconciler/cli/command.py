"""What every command is made with: its class, the options that all of them take, and the state of one invocation."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from reconciler.cli.settings import Settings, resolve
from reconciler.model.errors import UsageError


@dataclass(slots=True)
class Invocation:
    """One run of the program: where it works, which flags were given, and what was learnt for the last words."""

    directory: Path | None = None
    flags: dict[str, str | None] = field(default_factory=dict)
    state_folder: Path | None = None

    def folder(self) -> Path:
        """The folder to start from: -C, then RECONCILER_DIR, then here. Raises UsageError when it is none."""
        named = self.directory or (Path(value) if (value := os.environ.get("RECONCILER_DIR")) else None)
        if named is None:
            try:
                return Path.cwd()
            except FileNotFoundError as error:
                raise UsageError("the current folder no longer exists", hint="cd to one that does") from error
        try:
            there = stat.S_ISDIR(named.stat().st_mode)
        except PermissionError as error:
            raise UsageError(
                f"{str(named)[:200]!r} cannot be looked into: {error.strerror}",
                hint="work as the user that it belongs to, like the one that the daemon runs as",
            ) from error
        except (OSError, ValueError):
            there = False
        if not there:
            raise UsageError(f"{str(named)[:200]!r} is not a folder", hint="-C takes the folder of a fleet")
        return named.absolute()

    def typed(self, path: Path) -> Path:
        """A path from the folder to work in, as it is called from where the command was typed."""
        return (self.directory or Path(os.environ.get("RECONCILER_DIR") or "")) / path

    @property
    def program(self) -> str:
        """How the program is called again for the same fleet."""
        return "reconciler" if self.directory is None else f"reconciler -C {shlex.quote(str(self.directory))}"

    def settings(self, **flags: object) -> Settings:
        """Settings with their origins; `flags` are options of the command by setting, None where not given."""
        given = self.flags | {key: None if value is None else str(value) for key, value in flags.items()}
        return resolve(given, os.environ, self.folder())


_current: ContextVar[Invocation] = ContextVar("invocation")


def begin() -> Invocation:
    """Start a new invocation and make it the current one."""
    invocation = Invocation()
    _current.set(invocation)
    return invocation


def invocation() -> Invocation:
    """The invocation that runs; outside of one (in tests, say) a new one."""
    try:
        return _current.get()
    except LookupError:
        return begin()


def _set_directory(value: Path | None) -> Path | None:
    if value is not None:
        invocation().directory = value
    return value


def _set_color(value: str | None) -> str | None:
    if value is not None:
        if value not in ("auto", "always", "never"):
            raise UsageError(f"--color {value[:40]!r}: must be auto, always or never")
        invocation().flags["color"] = value
    return value


def common(
    _directory: Annotated[
        Path | None,
        typer.Option(
            "-C",
            metavar="DIR",
            callback=_set_directory,
            expose_value=False,
            help="Work on the fleet found from DIR instead of from here.",
        ),
    ] = None,
    _color: Annotated[
        str | None,
        typer.Option(
            "--color",
            metavar="WHEN",
            callback=_set_color,
            expose_value=False,
            help="Colour: auto, always or never.",
        ),
    ] = None,
) -> None:
    """The options that every command takes."""


HELP = ["-h", "--help"]
HELP_OPTIONS = {"help_option_names": HELP}


class FleetCommand(TyperCommand):
    """A command whose help ends with examples, and which takes -C and --color like all others."""

    examples: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse long options with one dash, as other programs take them: `-out x` would be read as `-o ut x`."""
        long = {name for option in self.params for name in option.opts if name.startswith("--")} | {"--help"}
        for arg in args[: args.index("--")] if "--" in args else args:
            name, _, value = arg.partition("=")
            if f"-{name}" in long and not name.startswith("--"):
                raise UsageError(
                    f"there is no option '{name}'",
                    hint=f"long options take two dashes: -{name}{'=...' if value else ''}",
                )
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is the base's
        """Write the examples as they are typed, one a line."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  {example}\n")


def build(function: Callable[..., Any], *, name: str, examples: Sequence[str]) -> FleetCommand:
    """A command out of a typed function: its docstring is the help, its parameters are arguments and options."""
    made = _made(function, name)
    made.examples = tuple(examples)
    made.params = [*made.params, *(option for option in _made(common, "common").params if option.name != "help")]
    return made


def _made(function: Callable[..., Any], name: str) -> FleetCommand:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=FleetCommand, context_settings=HELP_OPTIONS)(function)
    made = typer.main.get_command(app)
    assert isinstance(made, FleetCommand)  # noqa: S101 - what cls above makes
    return made


def group(name: str, text: str, commands: Mapping[str, FleetCommand], *, plain: str = "") -> Any:
    """A command that only holds others (`audit verify`). The one that `plain` names is meant where none is named."""
    from typer.core import TyperGroup

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            first = args[0] if args else ""
            if plain and first not in HELP and (not first or first.startswith("-") or "/" in first):
                args = [plain, *args]
            return super().parse_args(ctx, args)

    made = Group(
        name=name,
        help=text,
        commands=dict(commands),
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings=HELP_OPTIONS,
    )
    for key, command in commands.items():
        command.name = key
    return made
