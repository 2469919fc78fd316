"""Every example that a command's help ends with is run, in a fleet that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.main import COMMANDS, program

from .conftest import environment

LAST = ("apply", "scale", "suspend", "resume", "rollback", "destroy")
"""Commands that change what runs come after those that look at it, in this order."""
OPENSSH = shutil.which("ssh-keygen") is not None
"""Whether checkpoints can be signed here; where not, tests/cli/test_cli_audit.py says so loudly."""
AUTHOR = ("-c", "user.name=A tester", "-c", "user.email=tester@example.com")
STAYS = "daemon"
"""The command that goes on until it is told to end."""
REFUSED = {
    "reconciler alerts test": "names no alert routes",
    "reconciler alerts test on-call": "there is no alert route 'on-call'",
    "reconciler approve 3f2c1ab09d7e": "nothing that is held can be approved",
    "reconciler registry import": "only an empty registry can be filled",
    "reconciler registry migrate": "the environment variable ARANGO_USER is not set",
}
"""Examples that this fleet is no place for, and what they say here."""
MAY_HAVE_CHANGES = "--detailed-exitcode"


def examples(command: str) -> list[str]:
    found = program().get_command(None, command)
    members = getattr(found, "commands", None)
    return [line for one in (members.values() if members else [found]) for line in one.examples]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A fleet that runs, with what the examples name, and `reconciler` on the PATH."""
    home, programs = tmp_path / "home", tmp_path / "bin"
    for folder in (home, programs):
        folder.mkdir()
    script = programs / "reconciler"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler.cli "$@"\n')
    script.chmod(0o755)
    env = environment(home) | {"KEY": "sk-example"}
    env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
    if OPENSSH:
        (home / ".ssh").mkdir(mode=0o700)
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh" / "id_ed25519")]
        subprocess.run(key, check=True, capture_output=True)
    subprocess.run([script, "init", "fleet"], cwd=tmp_path, env=env, check=True, capture_output=True)
    fleet = tmp_path / "fleet"
    (fleet / "key.txt").write_text("sk-example\n")
    subprocess.run([script, "apply", "--auto-approve"], cwd=fleet, env=env, check=True, capture_output=True)
    program_file = fleet / "agents" / "demo" / "hello.yaml"
    program_file.write_text(program_file.read_text().replace("You greet people.", "You greet everybody."))
    subprocess.run(
        ["git", *AUTHOR, "commit", "-qam", "Greet everybody"], cwd=fleet, env=env, check=True, capture_output=True
    )
    subprocess.run([script, "apply", "--auto-approve"], cwd=fleet, env=env, check=True, capture_output=True)
    yield fleet, env
    subprocess.run([script, "destroy", "--auto-approve"], cwd=fleet, env=env, check=True, capture_output=True)


LOOKING = [name for name in COMMANDS if name not in (*LAST, STAYS)]
PARTS = {
    "one part": LOOKING[::3],
    "another part": LOOKING[1::3],
    "a third part": LOOKING[2::3],
    "those that change": LAST,
}
"""Each with a fleet of its own, so that several processors are of use."""


@pytest.mark.parametrize("part", PARTS)
def test_every_example_works_as_it_is_printed(shell: tuple[Path, dict[str, str]], part: str) -> None:
    fleet, env = shell
    failed = []
    for command in PARTS[part]:
        for line in sorted(examples(command), key=_made_by_others):
            if "checkpoint" in line and not OPENSSH:
                continue
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=fleet,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            refusal = next((told for start, told in reversed(REFUSED.items()) if line.startswith(start)), "")
            if refusal:
                assert refusal in done.stderr
                continue
            if done.returncode not in ((0, 2) if MAY_HAVE_CHANGES in line else (0,)):
                failed.append(f"$ {line}\n{done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-500:]}")
    assert not failed, "\n".join(failed)


def _made_by_others(line: str) -> bool:
    """What reads a file that another example of the command writes comes after it."""
    return line.startswith("reconciler audit verify ")


@pytest.mark.parametrize("line", examples(STAYS))
def test_a_daemon_starts_as_it_is_printed_and_ends_when_told(shell: tuple[Path, dict[str, str]], line: str) -> None:
    fleet, env = shell
    with subprocess.Popen(
        ["bash", "-c", f"exec {line}"], cwd=fleet, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 0, first + rest
    assert first, "it said nothing"
    assert "Traceback" not in first + rest


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_of_itself(command: str) -> None:
    found = examples(command)
    assert found
    assert all(f"reconciler {command}" in line for line in found)
