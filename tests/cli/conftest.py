"""A fleet in a fresh repository, and the program run in processes of their own, whose imports are made already."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.adapters.embedded.lifecycle import end_everything
from tests.forking.client import forks

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(home: Path) -> dict[str, str]:
    """Nothing of the machine's own settings: no colours, no Git configuration, a home of its own."""
    kept = {key: os.environ[key] for key in ("PATH", "TMPDIR", "LANG", "COVERAGE_PROCESS_START") if key in os.environ}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@dataclass(frozen=True, slots=True)
class Program:
    """`reconciler` in a folder."""

    folder: Path
    home: Path

    def __call__(
        self, *arguments: str, code: int | None = None, folder: Path | None = None, stdin: str = "", **extra: str
    ) -> Done:
        """Run a command; with `code` it must end with that."""
        with forks() as fork:
            done = fork.run(
                *arguments,
                folder=folder or self.folder,
                env=environment(self.home) | extra,
                stdin=stdin.encode(),
                wall_s=TIMEOUT_S,
                limited=False,
            )
        if code is not None:
            assert done.code == code, f"{arguments}: {done.code}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err + done.out
        return Done(done.code, done.out, done.err)

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Run git in the folder."""
        identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *arguments],
            cwd=folder or self.folder,
            env=environment(self.home),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def commit(self, message: str = "Change") -> None:
        """Commit all that is there."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def empty(tmp_path: Path, home: Path) -> Program:
    """The program in an empty folder that belongs to no repository."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return Program(folder, home)


@pytest.fixture
def fleet(tmp_path: Path, home: Path) -> Iterator[Program]:
    """The program in a fleet that `init` made; what it started is ended afterwards."""
    Program(tmp_path, home)("init", "fleet", code=0)
    program = Program(tmp_path / "fleet", home)
    yield program
    state = program.folder / ".reconciler"
    if state.is_dir() and program("destroy", "--auto-approve").code != 0:
        end_everything(state, program.folder)  # a daemon that a test killed still holds the fleet


Edit = Callable[[str, str, str], None]


@pytest.fixture
def edit(fleet: Program) -> Edit:
    """Replace text in a file of the fleet; the text must be there."""

    def change(path: str, old: str, new: str) -> None:
        file = fleet.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change
