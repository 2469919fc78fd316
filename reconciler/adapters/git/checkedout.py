"""CheckedOut: commits of a local repository. What is read is always a commit, never the files beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from reconciler.adapters.git.blobs import read_blobs
from reconciler.adapters.git.command import Git, Limits
from reconciler.adapters.git.disk import Seen
from reconciler.adapters.git.local import NO_COMMIT_HINT, dirty_paths, head, prefix_of
from reconciler.adapters.git.objects import differing, resolve
from reconciler.adapters.git.trees import Listing, Trees
from reconciler.adapters.git.watching import refs_written
from reconciler.model.errors import NothingCommitted
from reconciler.model.source import Blob, Revision


class Commits:
    """Reading commits of one repository; what did not change since the last one is not read again."""

    def __init__(self, git: Git, prefix: str) -> None:
        self._git = git
        self._prefix = prefix
        self._trees = Trees(git, prefix)
        self._listing: Listing | None = None
        self._blobs: Mapping[str, Blob] = {}

    async def fetch(self) -> None:
        """Nothing: this repository is where people commit."""

    async def changed_here(self) -> AsyncGenerator[None, None]:
        """Nothing is written here but by `fetch`."""
        for _ in ():
            yield

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        """Files and links of the commit below the fleet's folder; only YAML files, and links, are delivered."""
        if not revision.commit:
            raise _no_commit(self._git.folder)
        listing = await self._trees.at(revision.commit)
        known = self._listing
        if known is None or listing.entries is not known.entries:
            self._blobs = await self._read(listing, since=known)
            self._listing = listing
        return self._blobs

    async def _read(self, listing: Listing, since: Listing | None) -> Mapping[str, Blob]:
        """The blobs of a listing, in its order, from those of the last one and what is new."""
        entries, before = listing.entries, self._blobs
        follows = since is not None and listing.since is since.entries
        paths = listing.changed if follows else entries.keys()
        known = {} if follows else {blob.id: blob.data for blob in before.values()}
        wanted = [entries[path] for path in paths if path in entries and entries[path].id not in known]
        data = known | await read_blobs(self._git, wanted)
        blobs = dict(before) if follows else {}
        for path in paths:
            entry = entries.get(path)
            if entry is None:
                del blobs[path]
            else:
                blobs[path] = Blob(id=entry.id, data=data[entry.id], mode=entry.mode)
        came = any(path not in before for path in paths)
        return {path: blobs[path] for path in entries} if came else blobs

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
        self._seen = Seen()

    async def revision(self, ref: str) -> Revision:
        if ref:
            return Revision(commit=await resolve(self._git, ref), ref=ref)
        commit, branch = await head(self._git)
        if not commit:
            raise _no_commit(self._git.folder)
        dirty = await dirty_paths(self._git, self._trees, commit, self._prefix, self._seen)
        return Revision(commit=commit, ref=branch, dirty=dirty)

    def changed_here(self) -> AsyncGenerator[None, None]:
        """See the port."""
        return refs_written(self._git)


def _no_commit(folder: Path) -> NothingCommitted:
    return NothingCommitted(f"{folder} has no commit yet", hint=NO_COMMIT_HINT)
