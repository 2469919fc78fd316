"""Facts of a local repository: where the fleet lies in it, what HEAD is, which files there are, which differ."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from reconciler.adapters.git.command import Answer, Git, Limits
from reconciler.adapters.git.disk import Folder, Seen
from reconciler.adapters.git.objects import DAMAGED, failure
from reconciler.adapters.git.paths import text_of
from reconciler.adapters.git.trees import Trees
from reconciler.model.errors import SourceError

SHA1_LENGTH = 40
NO_COMMIT_HINT = "make a first commit, or read the files as they are with --working-tree"


def prefix_of(root: Path, fleet_dir: Path) -> str:
    """The fleet's folder inside its repository, "" for the root. Raises SourceError when it lies outside."""
    try:
        relative = fleet_dir.resolve().relative_to(root.resolve())
    except ValueError as error:
        raise SourceError(
            f"{fleet_dir} is not inside the repository {root}", hint="name a folder of the repository with -C"
        ) from error
    return "" if relative == Path() else relative.as_posix()


async def head_commit(git: Git) -> str:
    """The commit that is checked out; "" before the first one. Raises SourceError when it cannot be read."""
    answer = await git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if answer.code == 0:
        return answer.out.decode("ascii", "replace").strip()
    if answer.err:
        raise failure(git, answer, "read HEAD")
    named = await git.run("rev-parse", "--verify", "--quiet", "HEAD")
    if named.code == 0:
        commit = named.out.decode("ascii", "replace").strip()
        raise SourceError(f"{git.folder}: HEAD is {commit[:7]}, which is no commit that is there", hint=DAMAGED)
    return ""


async def head_branch(git: Git) -> str:
    """The branch that is checked out; "" where a commit is (detached)."""
    answer = await git.run("symbolic-ref", "--quiet", "--short", "HEAD")
    return answer.out.decode("utf-8", "backslashreplace").strip() if answer.code == 0 else ""


async def head(git: Git) -> tuple[str, str]:
    """Commit and branch that are checked out."""
    commit, branch = await asyncio.gather(head_commit(git), head_branch(git))
    return commit, branch


async def listed(git: Git, prefix: str, *which: str) -> list[bytes]:
    """Paths from the folder `prefix` that `git ls-files` tells of, those that count are left to the caller."""
    scope = ("--", prefix) if prefix else ()
    answer = await git.run("ls-files", "-z", *which, *scope)
    _check(git, answer, "list the files")
    skip = len(os.fsencode(prefix)) + 1 if prefix else 0
    return [path[skip:] for path in answer.out.split(b"\0")[:-1] if not path.endswith(b"/")]


async def tracks(root: Path, folder: Path) -> bool:
    """Whether the repository `root` holds something at or below `folder`, in whatever case. Raises SourceError."""
    wanted = os.fsencode(folder.name).lower()
    held = await listed(Git(root, Limits()), prefix_of(root, folder.parent), "--cached")
    return any(path.partition(b"/")[0].lower() == wanted for path in held)


async def dirty_paths(git: Git, trees: Trees, commit: str, prefix: str, seen: Seen) -> tuple[str, ...]:
    """Paths that count, from the folder `prefix`, whose files differ from the commit, new ones too; sorted.

    The files are hashed here: Git's own comparison may run the filters that a repository names.
    """
    listing = await trees.find(commit)
    held = listing.entries if listing else {}
    folder = Folder(git.folder / prefix, git.limits, len(commit), seen)
    names, changed = await asyncio.gather(
        listed(git, prefix, "--cached", "--others", "--exclude-standard", "--deduplicate"),
        asyncio.to_thread(folder.differing, held.values()),
    )

    def new() -> set[str]:
        unknown = set(names).difference(entry.raw for entry in held.values())
        return {text_of(name, git.limits) for name in unknown if folder.entry(name)}

    return tuple(sorted(changed | await asyncio.to_thread(new)))


def _check(git: Git, answer: Answer, doing: str) -> None:
    if answer.code != 0:
        raise failure(git, answer, doing)
