"""Hostile and damaged repositories, through the program: told, within bounds, and nobody's agents are touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.contracts.repositories import Repository
from tests.hostile.bounds import Bounded, Record, hold, untouched
from tests.hostile.conftest import write_fleet
from tests.hostile.repositories import HARMED, Harmed


@pytest.fixture(scope="module")
def good(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose fleet, in `fleet/`, is applied."""
    repository = Repository(tmp_path_factory.mktemp("good") / "repository")
    write_fleet(repository.fleet)
    repository.commit()
    Program(repository.fleet, home)("apply", "--auto-approve", code=0)
    return repository.root


@pytest.mark.parametrize("one", HARMED, ids=lambda one: one.name)
def test_a_repository_is_told_of_and_changes_nothing(
    one: Harmed, good: Path, forks: Bounded, tmp_path: Path, record_property: Record
) -> None:
    if one.name.startswith("somebody") and os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    before = untouched(forks, good / "fleet")
    root = tmp_path / "repository"
    shutil.copytree(good, root, symlinks=True)
    one.harm(Repository.at(root))

    ended = forks.run("apply", "--auto-approve", folder=root / "fleet")

    hold(ended, kind="repositories", record=record_property)
    assert one.told in ended.out + ended.err
    assert not (root / "caught").exists()
    restore(good, root)
    assert untouched(forks, root / "fleet") == before


def restore(good: Path, root: Path) -> None:
    """Put the good repository back round the state that the run left."""
    shutil.move(root / "fleet/.reconciler", root.parent / "state")
    shutil.rmtree(root)
    shutil.copytree(good, root, symlinks=True)
    shutil.rmtree(root / "fleet/.reconciler")
    shutil.move(root.parent / "state", root / "fleet/.reconciler")
