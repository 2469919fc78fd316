"""The entry point: the table of commands, imported only when typed, and the one place where a run ends."""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from reconciler.cli import command as commands
from reconciler.cli import failures, output
from reconciler.model.errors import UsageError

PROGRAM = "reconciler"
COMPLETE_VARIABLE = "_RECONCILER_COMPLETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command before it is imported: the section of the help that it stands in, and its line there."""

    section: str
    text: str


COMMANDS: Mapping[str, Entry] = {
    "init": Entry(section="Start", text="Start a fleet: files that run, in a Git repository."),
    "import": Entry(section="Start", text="Write files for what runs already."),
    "validate": Entry(section="Plan and do", text="Find mistakes in the files, without a cluster."),
    "plan": Entry(section="Plan and do", text="Show what would be done."),
    "show": Entry(section="Plan and do", text="Show a saved plan."),
    "apply": Entry(section="Plan and do", text="Do it: what is planned now, or exactly a saved plan."),
    "destroy": Entry(section="Plan and do", text="Plan towards nothing, and do it."),
    "daemon": Entry(section="Plan and do", text="Keep the fleet in its declared state, with nobody at the keyboard."),
    "get": Entry(section="Look", text="List agents, templates or clusters."),
    "describe": Entry(section="Look", text="All about one agent."),
    "explain": Entry(section="Look", text="Where the value of a field comes from."),
    "why": Entry(section="Look", text="What keeps an agent waiting, and what clears it."),
    "render": Entry(section="Look", text="The Kubernetes objects of an agent."),
    "export": Entry(section="Look", text="Agents as Helm charts."),
    "logs": Entry(section="Look", text="What an agent prints."),
    "history": Entry(section="Look", text="Revisions of an agent, and what became of them."),
    "health": Entry(section="Look", text="Check every agent once, now."),
    "alerts": Entry(section="Look", text="What people are told of, and silences."),
    "audit": Entry(section="Look", text="The record of who did what."),
    "scale": Entry(section="Act", text="Set replicas by hand, for a while."),
    "suspend": Entry(section="Act", text="Stop an agent without removing it."),
    "resume": Entry(section="Act", text="End a suspension or a quarantine."),
    "rollback": Entry(section="Act", text="Return an agent to an earlier revision."),
    "approve": Entry(section="Act", text="Allow deletions that are held."),
    "secret": Entry(section="Act", text="Keep secrets for agents on the embedded cluster."),
    "schema": Entry(section="Set up", text="JSON Schema of the files, for editors."),
    "registry": Entry(section="Set up", text="Look after what is on record: check, back up, prune, move."),
    "config": Entry(section="Set up", text="Settings, and where each comes from."),
    "doctor": Entry(section="Set up", text="What works here, what does not, and what to do."),
    "completion": Entry(section="Set up", text="Completion for bash, zsh or fish."),
    "version": Entry(section="Set up", text="Versions of reconciler and what it runs on."),
}
HELP = "Keep a fleet of AI agents in the state that a Git repository declares."


def module_of(command: str) -> str:
    """The name of a command's module in cli/commands: no module can be called `import`."""
    return f"{command}_" if keyword.iskeyword(command) else command


class LazyGroup(TyperGroup):
    """The program itself: a group whose commands are imported when they are named."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is the base's
        """Names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is the base's
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"reconciler.cli.commands.{module_of(cmd_name)}").command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begins with. Raises UsageError with the nearest known name."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            near = get_close_matches(name[:40], COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"`{PROGRAM} --help` lists the commands"
            kind = "option" if name.startswith("-") else "command"
            raise UsageError(f"unknown {kind} '{output.one_line(name, 60)}'", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is the base's
        """The commands by section, from the table alone: help imports none of them."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(name, entry.text) for name, entry in COMMANDS.items() if entry.section == section])


def program() -> Any:
    """The command tree, commands not yet imported."""
    common = commands.build(commands.common, name="common", examples=()).params
    options = {option.name: option for option in common}
    return LazyGroup(
        name=PROGRAM,
        help=HELP,
        params=[option for name, option in options.items() if name != "help"],
        rich_markup_mode=None,
        context_settings=commands.HELP_OPTIONS,
        epilog=f"`{PROGRAM} COMMAND --help` says more, with examples.",
    )


def main(arguments: Sequence[str]) -> int:
    """Run one command line and answer its exit code. Never raises."""
    current = commands.begin()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs time, and runs them
    try:
        output.prepare_streams()
        if os.environ.get(COMPLETE_VARIABLE):
            from typer import completion

            completion.completion_init()  # type: ignore[attr-defined]  # the only way to its shells without its options
        tree = program()
        result = tree.main(
            args=_meant(arguments),
            prog_name=PROGRAM,
            complete_var=COMPLETE_VARIABLE,
            standalone_mode=False,
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except typer.TyperException as error:
        return _usage(error)
    except typer.Abort:
        return failures.exit_code(KeyboardInterrupt(), current.state_folder)
    except typer.Exit as error:
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the last handler: whatever it is, people get a message
        return failures.exit_code(error, current.state_folder)


def _meant(arguments: Sequence[str]) -> list[str]:
    """What was typed. Nothing asks for help, as `help` does; `--version`, as most programs take it, for the command."""
    match list(arguments):
        case ["--version"]:
            return ["version"]
        case [] | ["help" | "-help"]:
            return ["--help"]
        case ["help", *command]:
            return [*command, "--help"]
    return list(arguments)


def _usage(error: typer.TyperException) -> int:
    """A mistake on the command line: what is wrong, where the help is, exit 1."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    message = error.format_message().replace("Value error, ", "")
    if type(error).__name__ == "NoArgsIsHelpError":
        output.note(message)
        return 1
    hint = f"`{path} --help` shows how it is used"
    params = context.command.params if context else ()
    if message.startswith("Got unexpected extra") and any("--target" in param.opts for param in params):
        hint = f"for one agent alone: --target NAMESPACE/NAME; {hint}"
    failures.show_error(output.one_line(message, 500).rstrip("."), hint)
    return 1


def run() -> NoReturn:
    """The `reconciler` script."""
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        failures.mute_stdout()
    sys.exit(code)
