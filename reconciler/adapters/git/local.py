"""Facts of a local repository: where the fleet lies in it, what HEAD is, which files there are, which differ."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reconciler.adapters.git.command import Answer, Git
from reconciler.adapters.git.disk import Folder, differs_from
from reconciler.adapters.git.objects import failure
from reconciler.adapters.git.paths import counts, text_of
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
    """The commit that is checked out; "" before the first one."""
    answer = await git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if answer.code == 0:
        return answer.out.decode("ascii", "replace").strip()
    if answer.err:
        raise failure(git, answer, "read HEAD")
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
    skip = len(prefix.encode()) + 1 if prefix else 0
    return [path[skip:] for path in answer.out.split(b"\0")[:-1] if not path.endswith(b"/")]


async def dirty_paths(git: Git, commit: str, prefix: str) -> tuple[str, ...]:
    """Paths that count, from the folder `prefix`, whose files differ from the commit, new ones too; sorted.

    Git compares by the index; only files whose stat differs are read here, so that no filter of the repository runs.
    """
    scope = ("--", prefix) if prefix else ()
    compare = git.run(
        "diff-index", "-z", "--raw", "--no-renames", "--no-ext-diff", "--ignore-submodules=all", commit, *scope
    )
    answer, others = await asyncio.gather(compare, listed(git, prefix, "--others", "--exclude-standard"))
    _check(git, answer, "compare the files with the commit")
    skip = len(prefix.encode()) + 1 if prefix else 0
    dirty = {text_of(path, git.limits) for path in others if _any_counts(path)}
    doubtful = []
    fields = answer.out.split(b"\0")
    for line, path in zip(fields[0:-1:2], fields[1::2], strict=False):
        old_mode, new_mode, old_id, _, _ = line.decode("ascii", "replace").lstrip(":").split(" ")
        short = path[skip:]
        if not (counts(short, old_mode) or counts(short, new_mode)):
            continue
        text = text_of(short, git.limits)
        if set(old_id) == {"0"}:
            dirty.add(text)
        else:
            doubtful.append((short, text, old_mode, old_id))
    folder = Folder(git.folder / prefix, git.limits, len(commit))
    dirty.update(await asyncio.to_thread(lambda: list(differs_from(folder, doubtful))))
    return tuple(sorted(dirty))


def _any_counts(path: bytes) -> bool:
    return counts(path, "100644")


def _check(git: Git, answer: Answer, doing: str) -> None:
    if answer.code != 0:
        raise failure(git, answer, doing)
