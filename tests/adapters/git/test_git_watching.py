"""Being told of what is written in a repository here: commits, branches, files, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from reconciler.adapters.git import CheckedOut, Mirror, WorkingTree, watching
from reconciler.model.errors import SourceError
from reconciler.ports import Source
from tests.contracts.repositories import Repository


class Told:
    """How often a source told."""

    def __init__(self, changes: AsyncGenerator[None, None]) -> None:
        self.times = 0
        self.event = asyncio.Event()
        self.task = asyncio.create_task(self._listen(changes))

    async def _listen(self, changes: AsyncGenerator[None, None]) -> None:
        async for _ in changes:
            self.times += 1
            self.event.set()

    async def after(self, write: Callable[[], object]) -> None:
        """Write until it is told: a watch takes a moment to stand, and nobody says when it does."""
        self.event.clear()
        async with asyncio.timeout(20):
            while not self.event.is_set():
                write()
                await asyncio.wait({asyncio.create_task(self.event.wait())}, timeout=0.5)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    made.write("fleet.yaml", "kind: Fleet\n")
    made.commit()
    return made


def numbered(write: Callable[[str], object]) -> Callable[[], object]:
    """Something else each time."""
    numbers = iter(range(1000))
    return lambda: write(str(next(numbers)))


async def test_a_commit_and_a_branch_that_is_checked_out_are_told(repository: Repository) -> None:
    told = Told(CheckedOut(repository.root, repository.fleet).changed_here())

    def commit(text: str) -> None:
        repository.write("fleet.yaml", f"kind: Fleet # {text}\n")
        repository.commit()

    await told.after(numbered(commit))
    await told.after(numbered(lambda text: repository.git("checkout", "-q", "-b", f"feature/{text}")))
    await told.close()


async def test_files_of_the_fleet_are_told_also_in_folders_that_are_new_and_others_are_not(
    repository: Repository,
) -> None:
    told = Told(WorkingTree(repository.root, repository.fleet).changed_here())
    await told.after(numbered(lambda text: repository.write("fleet.yaml", f"kind: Fleet # {text}\n")))
    await told.after(numbered(lambda text: repository.write(f"agents/support/a{text}.yaml", "kind: Agent\n")))
    await asyncio.sleep(0.2)
    before = told.times
    (repository.fleet / ".reconciler").mkdir()
    (repository.fleet / ".reconciler" / "x.yaml").write_text("x")
    (repository.fleet / "agents" / "notes.txt").write_text("x")
    await told.after(numbered(lambda text: repository.write("fleet.yaml", f"kind: Fleet # again {text}\n")))
    assert told.times <= before + 2
    await told.close()


async def test_nobody_writes_into_a_mirror(tmp_path: Path, repository: Repository) -> None:
    source: Source = Mirror(str(repository.root), tmp_path / "mirror")
    assert [None async for _ in source.changed_here()] == []


async def test_what_cannot_be_watched_says_why(tmp_path: Path, repository: Repository, monkeypatch) -> None:
    monkeypatch.setattr(watching, "MOST_FOLDERS", 0)
    (repository.fleet / "agents").mkdir()
    with pytest.raises(SourceError, match="too many to be watched"):
        _ = [None async for _ in WorkingTree(repository.root, repository.fleet).changed_here()]
    with pytest.raises(SourceError, match="cannot be watched"):
        _ = [None async for _ in watching.files_written(tmp_path / "nowhere")]
