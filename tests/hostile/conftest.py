"""Forks of the program, and a fleet whose agents `demo/good` and `demo/bad` are applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.forking.client import forks as idle
from tests.hostile.bounds import Bounded
from tests.spec.writing import BASE, FLEET, GOOD, agent

BAD = "agents/demo/bad.yaml"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def forks(home: Path) -> Iterator[Bounded]:
    with idle() as taken:
        yield Bounded(taken, home)


def write_fleet(folder: Path) -> None:
    """A fleet on a cluster that runs nothing, with two good agents on one template."""
    files = {
        "fleet.yaml": FLEET + "spec: {clusters: [{name: local, embedded: {run: nothing}}]}\n",
        "templates/base.yaml": BASE,
        "agents/demo/good.yaml": GOOD,
        BAD: agent("{extends: [base], description: Good so far}", name="bad"),
        ".gitignore": ".reconciler/\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture(scope="module")
def applied(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet in Git, on a cluster that runs nothing; both of its agents are applied."""
    folder = tmp_path_factory.mktemp("applied") / "fleet"
    write_fleet(folder)
    program = Program(folder, home)
    program.git("init", "--quiet", "--initial-branch=main")
    program.commit("Two good agents")
    program("apply", "--auto-approve", code=0)
    return folder
