"""CheckedOut: commits of a local repository. What is read is always a commit, never the files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.adapters.git.command import Git, Limits
from reconciler.adapters.git.local import NO_COMMIT_HINT, dirty_paths, head, prefix_of
from reconciler.adapters.git.objects import differing, list_tree, read_blobs, resolve, to_blobs
from reconciler.model.errors import SourceError
from reconciler.model.source import Blob, Revision


class Commits:
    """Reading commits of one repository, with the bytes of the last two revisions kept by blob id."""

    def __init__(self, git: Git, prefix: str) -> None:
        self._git = git
        self._prefix = prefix
        self._blobs: dict[str, Mapping[str, Blob]] = {}

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        """Files and links of the commit below the fleet's folder; only YAML files, and links, are delivered."""
        if not revision.commit:
            raise _no_commit(self._git.folder)
        if (kept := self._blobs.get(revision.commit)) is not None:
            return kept
        entries = await list_tree(self._git, revision.commit, self._prefix)
        known = {blob.id: blob.data for kept in self._blobs.values() for blob in kept.values()}
        fresh = await read_blobs(self._git, [entry for entry in entries.values() if entry.id not in known])
        blobs = to_blobs(entries, known | fresh)
        self._blobs = dict([*list(self._blobs.items())[-1:], (revision.commit, blobs)])
        return blobs

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        if not old.commit:
            return frozenset(await self.blobs(new))
        if old.commit == new.commit:
            return frozenset()
        return await differing(self._git, old.commit, new.commit, self._prefix)

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        """See the port. In a shallow clone the history before its edge is unknown, and so no ancestor."""
        if not old.commit or old.commit == new.commit:
            return True
        answer = await self._git.run("merge-base", "--is-ancestor", old.commit, new.commit)
        return answer.code == 0


class CheckedOut(Commits):
    """The commit that is checked out in the repository `root`, or another one by its ref."""

    def __init__(self, root: Path, fleet_dir: Path, limits: Limits | None = None) -> None:
        """`fleet_dir` lies in `root`. Raises SourceError when it does not."""
        super().__init__(Git(root, limits or Limits()), prefix_of(root, fleet_dir))

    async def revision(self, ref: str) -> Revision:
        if ref:
            return Revision(commit=await resolve(self._git, ref), ref=ref)
        commit, branch = await head(self._git)
        if not commit:
            raise _no_commit(self._git.folder)
        dirty = await dirty_paths(self._git, commit, self._prefix)
        return Revision(commit=commit, ref=branch, dirty=dirty)


def _no_commit(folder: Path) -> SourceError:
    return SourceError(f"{folder} has no commit yet", hint=NO_COMMIT_HINT)
