"""What becomes of a repository deletes nothing: a branch or repository that is gone or empty, a path, a force-push."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.git import Mirror
from reconciler.daemon.loop import Mode
from reconciler.daemon.service import Settings
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import AnyState, Found
from tests.contracts.repositories import Repository
from tests.daemon.test_service import Fleet, running
from tests.daemon.waiting import until
from tests.engine.fleets import NOTHING, agent

CONFIG = ObjectRef(group="", kind="ConfigMap", namespace="support", name="a")
NAMES = [AgentName.parse("support/a"), AgentName.parse("support/b")]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "origin")
    made.write("fleet.yaml", NOTHING)
    for name in NAMES:
        made.write(f"agents/{name.name}.yaml", agent(name.name))
    made.commit()
    return made


def followed(tmp_path: Path, repository: Repository, branch: str = "main") -> Fleet:
    source: Any = Mirror(str(repository.root), tmp_path / "mirror", fleet_dir="fleet")
    fleet = Fleet(tmp_path, source, Mode.APPLY)
    fleet.service.settings = Settings(ref=branch, poll_s=0.1, sweep_s=60.0)
    fleet.service.jitter = lambda: 0.0  # what fails is tried again soon
    return fleet


async def up(fleet: Fleet) -> None:
    await until(lambda: {line["agent"] for line in fleet.told("change-ended", outcome="applied")} == {*map(str, NAMES)})


async def on_record(fleet: Fleet) -> set[AgentName]:
    answer = await (await fleet.registry()).snapshot()
    assert isinstance(answer, Found)
    return set(answer.value.records)


async def drift_is_undone(fleet: Fleet) -> None:
    """An object that somebody deletes comes back."""
    before = len(fleet.told("change-ended", agent="support/a", action="recover", outcome="applied"))
    await fleet.cluster.delete(CONFIG, AnyState())
    await until(
        lambda: len(fleet.told("change-ended", agent="support/a", action="recover", outcome="applied")) > before
    )
    assert isinstance(await fleet.cluster.get(CONFIG), Found)


def branch_gone(repository: Repository) -> None:
    repository.git("branch", "--move", "main", "elsewhere")


def repository_gone(repository: Repository) -> None:
    shutil.move(repository.root, repository.root.with_name("away"))


def repository_emptied(repository: Repository) -> None:
    shutil.rmtree(repository.root)
    Repository(repository.root)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (branch_gone, "source-away"),
        (repository_gone, "trigger-ended"),
        (repository_emptied, "trigger-ended"),
    ],
)
async def test_what_was_declared_last_counts_on(
    tmp_path: Path, repository: Repository, fault: Callable[[Repository], None], told: str
) -> None:
    async with running(followed(tmp_path, repository)) as fleet:
        await up(fleet)
        fault(repository)
        await until(lambda: fleet.told("trigger-ended", trigger="git"))
        await drift_is_undone(fleet)
        assert fleet.told(told)
        assert await on_record(fleet) == set(NAMES)
        assert fleet.told("change-started", action="delete") == []


async def test_a_branch_that_comes_back_is_followed_again(tmp_path: Path, repository: Repository) -> None:
    async with running(followed(tmp_path, repository)) as fleet:
        await up(fleet)
        branch_gone(repository)
        await until(lambda: fleet.told("trigger-ended", trigger="git"))
        repository.write("agents/c.yaml", agent("c"))
        repository.commit()
        repository.git("branch", "--move", "elsewhere", "main")
        await until(lambda: fleet.told("change-ended", agent="support/c", outcome="applied"))


async def test_a_commit_without_the_fleets_folder_changes_nothing_until_it_is_back(
    tmp_path: Path, repository: Repository
) -> None:
    async with running(followed(tmp_path, repository)) as fleet:
        await up(fleet)
        shutil.rmtree(repository.fleet)
        (repository.root / "README").write_text("moved")
        commit = repository.commit()
        await until(lambda: fleet.told("source-away"))
        assert commit[:7] in fleet.told("source-away")[0]["reason"]
        await drift_is_undone(fleet)
        assert await on_record(fleet) == set(NAMES)
        repository.write("fleet.yaml", NOTHING)
        for name in NAMES:
            repository.write(f"agents/{name.name}.yaml", agent(name.name, image="acme/agent:2"))
        repository.commit()
        await until(lambda: len(fleet.told("change-ended", action="update", outcome="applied")) == len(NAMES))
        assert len(fleet.told("source-back")) == 1


async def test_deletions_of_a_force_push_are_held_and_the_rest_goes_on(tmp_path: Path, repository: Repository) -> None:
    async with running(followed(tmp_path, repository)) as fleet:
        await up(fleet)
        repository.git("checkout", "-q", "--orphan", "new")
        (repository.fleet / "agents/b.yaml").unlink()
        repository.write("agents/c.yaml", agent("c"))
        commit = repository.commit()
        repository.git("branch", "--force", "main", commit)
        await until(lambda: fleet.told("change-ended", agent="support/c", outcome="applied"))
        held = fleet.told("planned", commit=commit[:12])[0]["held"]
        assert "the branch was rewound" in held[0]
        assert await on_record(fleet) == {*NAMES, AgentName.parse("support/c")}
        assert fleet.told("change-started", action="delete") == []
