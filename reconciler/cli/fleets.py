"""The fleet that a command works on: found from a folder, read, and opened. What commands know of bootstrap."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from reconciler.cli.command import invocation
from reconciler.model.errors import UsageError
from reconciler.model.fleet import Declaration

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
