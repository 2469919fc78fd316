"""The README's own commands, run as typed in a fresh folder, their outputs compared with what it prints.

From "Starting one's own fleet" to "Mistakes": a YAML block that begins with `# PATH` is written to that path; a console
block is run line by line in one shell session's folder. In outputs `...` stands for any lines; times, hashes, revision
numbers and ages may be others; lines of progress, which a terminal shows as bars, are left out.
"""

from __future__ import annotations

import itertools
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .conftest import ROOT, environment

FIRST, LAST = "Starting one's own fleet", "Mistakes"
ANSWER = "Only 'yes' is accepted: "
PROGRESS = re.compile(r"^\S+/\S+: \d+/\d+ ready")
MASKS = (
    (re.compile(r"\b[0-9a-f]{7}\b"), "HASH"),
    (re.compile(r"\b\d+\.\d+s\b"), "TIME"),
    (re.compile(r"Registry revision \d+"), "Registry revision N"),
    (re.compile(r"\b\d+s$"), "AGE"),
)


@dataclass(slots=True)
class Step:
    """A command and what it should print, or a file and what it should hold."""

    command: str = ""
    expected: list[str] = field(default_factory=list)
    path: str = ""


def sections(text: str) -> str:
    """The text from FIRST to the end of LAST."""
    start = text.index(f"## {FIRST}")
    end = text.index("\n## ", text.index(f"## {LAST}") + 3)
    return text[start:end]


def steps(text: str) -> Iterator[Step]:
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            yield Step(path=body.partition("\n")[0].removeprefix("# "), expected=body.splitlines())
            continue
        assert language == "console"
        current: Step | None = None
        for line in body.splitlines():
            if line.startswith("$ "):
                if current:
                    yield current
                current = Step(command=line[2:])
            else:
                assert current is not None, "a console block begins with a command"
                current.expected.append(line)
        if current:
            yield current


def masked(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        text = line.rstrip()
        for pattern, word in MASKS:
            text = pattern.sub(word, text)
        found.append(re.sub(r" {2,}", "  ", text))
    return [line for _, lines in itertools.groupby(found, key=is_result) for line in settled(lines)]


def is_result(line: str) -> bool:
    """A line that tells how one agent ended: agents of one wave end in any order."""
    return re.match(r"\S+/\S+  (?:created|updated|scaled|deleted)\b", line) is not None


def settled(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return sorted(found) if is_result(found[0]) else found


def agrees(expected: list[str], printed: list[str]) -> bool:
    """Whether `printed` is `expected`, where "..." stands for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def run(command: str, folder: Path, env: dict[str, str], answer: str) -> tuple[int, list[str], Path]:
    """Run a line in a shell, with a terminal as its input; answers code, output, and the folder it ended in."""
    primary, secondary = pty.openpty()
    os.write(primary, answer.encode())
    where = folder.parent / ".where"
    with subprocess.Popen(
        ["bash", "-c", f"{command}\ncode=$?; pwd > '{where}'; exit $code"],
        cwd=folder,
        env=env,
        stdin=secondary,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(secondary)
        out, _ = process.communicate(timeout=120)
    os.close(primary)
    return process.returncode, out.splitlines(), Path(where.read_text().strip())


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder to work in, and an environment with `reconciler` on the PATH and an author for commits."""
    home, programs, work = (tmp_path / name for name in ("home", "bin", "work"))
    for folder in (home, programs, work):
        folder.mkdir()
    script = programs / "reconciler"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler.cli "$@"\n')
    script.chmod(0o755)
    env = environment(home)
    env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "A reader", f"GIT_{role}_EMAIL": "reader@example.com"}
    yield work, env
    subprocess.run([script, "destroy", "--auto-approve"], cwd=work / "fleet", env=env, check=True, capture_output=True)


def test_every_line_works_as_typed(shell: tuple[Path, dict[str, str]]) -> None:
    folder, env = shell
    done = 0
    for step in steps(sections((ROOT / "README.md").read_text())):
        if step.path:
            (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.path).write_text("\n".join(step.expected) + "\n")
            continue
        answers = [line.partition(ANSWER)[2] for line in step.expected if ANSWER in line]
        code, printed, folder = run(step.command, folder, env, "".join(f"{answer}\n" for answer in answers))
        text = "\n".join(printed)
        for answer in answers:
            text = text.replace(ANSWER, f"{ANSWER}{answer}\n", 1)
        shown = [line for line in text.splitlines() if not PROGRESS.match(line)]
        assert agrees(masked(step.expected), masked(shown)), f"$ {step.command}\n{text}"
        assert code == (1 if any(": error: " in line for line in step.expected) else 0), step.command
        done += 1
    assert done >= 15, "the README lost its commands"


def test_the_readme_names_no_command_that_is_not_there() -> None:
    from reconciler.cli.main import COMMANDS

    named = set(re.findall(r"^\$? ?reconciler (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named <= set(COMMANDS)
