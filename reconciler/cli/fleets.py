"""The fleet that a command works on: found from a folder, read, and opened. What commands know of bootstrap."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from reconciler.cli.command import invocation
from reconciler.cli.settings import Settings
from reconciler.model.errors import UsageError
from reconciler.model.fleet import Declaration
from reconciler.model.plan import Policy

T = TypeVar("T")
STATE_FOLDER = ".reconciler"
FLEET_FILE = "fleet.yaml"


class NoFleet(UsageError):
    """There is no fleet to look at."""


def find() -> Path:
    """The fleet's folder: the nearest one with a fleet.yaml, from where the command works up to the Git root."""
    start = invocation().folder()
    for folder in (start, *start.parents):
        if (folder / FLEET_FILE).is_file():
            invocation().state_folder = folder / STATE_FOLDER
            return folder
        if (folder / ".git").exists():
            break
    raise NoFleet(
        f"there is no fleet.yaml in {start} or above it, up to the Git root",
        hint="go to a fleet's folder or name it with -C DIR; `reconciler init NAME` starts one",
    )


def state_folder() -> Path:
    """Where the state of the embedded parts lies."""
    return find() / STATE_FOLDER


def run(work: Coroutine[object, object, T]) -> T:
    """Run one command's asynchronous work to its end."""
    return asyncio.run(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What to plan: a ref (None: what is checked out), or the files as they are; and what the operator allows."""

    ref: str | None = None
    working_tree: bool = False
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        if self.ref is not None and self.working_tree:
            raise UsageError("--ref and --working-tree exclude each other")
        if self.ref is not None and (not self.ref.strip() or self.ref.startswith("-") or not self.ref.isprintable()):
            raise UsageError(f"{self.ref[:60]!r} is not a ref", hint="a commit, branch or tag, like main or 3f2c1ab")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """How to apply: changes at once, seconds a rollout (None: as its agent says), seconds to wait for another apply.

    `spends` is the digest of the saved plan that this is, "" where it is none.
    """

    parallelism: int
    timeout: float | None
    lock_timeout: float
    spends: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            parallelism=settings.number("parallelism"),
            timeout=settings.seconds("timeout"),
            lock_timeout=settings.seconds("lockTimeout") or 0.0,
        )

    def spending(self, digest: str) -> Self:
        """The same, for a saved plan that is used up by it."""
        return replace(self, spends=digest)


async def read_working_tree(root: Path) -> Declaration:
    """What the files declare as they are, committed or not."""
    from reconciler.adapters.git import WorkingTree, find_root
    from reconciler.spec import read_fleet

    source = WorkingTree(find_root(root) or root, root)
    revision = await source.revision("")
    return read_fleet(revision, await source.blobs(revision))


def git_prefix(root: Path) -> str:
    """Where the fleet's folder lies in its repository; "" for the root, or without a repository."""
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            return "" if folder == root else root.relative_to(folder).as_posix()
    return ""
