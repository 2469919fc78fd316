"""A simulated repository with branches that move, and clones of it that know only what they fetched."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping

from reconciler.model.errors import SourceError
from reconciler.model.source import Blob, Revision

Tree = Mapping[str, Blob]


class SimulatedGit:
    """Commits and one branch. Nothing is ever lost, so that a force-push leaves commits that no branch has."""

    def __init__(self) -> None:
        self.head = ""
        self.trees: dict[str, Tree] = {}
        self.parents: dict[str, str] = {}
        self.order: list[str] = []
        """All commits in the order in which they were made."""

    def commit(self, files: Mapping[str, str]) -> str:
        """Put a commit with exactly these files on the branch, and answer its id."""
        return self._made(files, self.head)

    def force(self, files: Mapping[str, str], parent: str) -> str:
        """Let the branch be a new commit that follows `parent`: what came after `parent` is on it no more."""
        return self._made(files, parent)

    def _made(self, files: Mapping[str, str], parent: str) -> str:
        tree = {path: _blob(text) for path, text in sorted(files.items())}
        told = repr((parent, len(self.order), [(path, blob.id) for path, blob in tree.items()]))
        commit = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        self.trees[commit], self.parents[commit] = tree, parent
        self.order.append(commit)
        self.head = commit
        return commit

    def history(self, commit: str) -> Iterator[str]:
        """A commit and all before it, newest first."""
        while commit:
            yield commit
            commit = self.parents.get(commit, "")


class SimulatedClone:
    """Implements ports.Source. It outlives the program that uses it, as a mirror on a disk does."""

    def __init__(self, git: SimulatedGit) -> None:
        self.git = git
        self.head = ""

    async def fetch(self) -> None:
        self.head = self.git.head

    async def revision(self, ref: str) -> Revision:
        commit = ref or self.head
        if commit not in self.git.trees:
            raise SourceError(f"{ref or 'the branch'} does not exist")
        return Revision(commit=commit, ref="main")

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        return dict(self.git.trees[revision.commit])

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        before, after = (self.git.trees.get(item.commit, {}) for item in (old, new))
        return frozenset(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

    async def changed_here(self) -> AsyncGenerator[None, None]:
        """A clone is written by fetching alone."""
        for _ in ():
            yield

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        return old.commit in self.git.history(new.commit)


_BLOBS: dict[str, Blob] = {}


def _blob(text: str) -> Blob:
    if text not in _BLOBS:
        data = text.encode()
        _BLOBS[text] = Blob(id=hashlib.sha1(data, usedforsecurity=False).hexdigest(), data=data)
    return _BLOBS[text]
