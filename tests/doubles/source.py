"""A repository in memory: commits of whole trees, one after another."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping

from reconciler.model.errors import SourceError
from reconciler.model.source import Blob, Revision


class MemorySource:
    """Implements ports.Source. The last commit is what is checked out; each commit follows the one before."""

    def __init__(self) -> None:
        self.commits: list[str] = []
        self.trees: dict[str, dict[str, Blob]] = {}

    def commit(self, files: Mapping[str, str | None]) -> str:
        """A commit in which `files` differ from the one before; None removes one. Answers its id."""
        tree = dict(self.trees[self.commits[-1]]) if self.commits else {}
        for path, text in files.items():
            if text is None:
                del tree[path]
            else:
                data = text.encode()
                tree[path] = Blob(id=hashlib.sha1(data, usedforsecurity=False).hexdigest(), data=data)
        listed = repr((self.commits[-1:], sorted((path, blob.id) for path, blob in tree.items())))
        commit = hashlib.sha1(listed.encode(), usedforsecurity=False).hexdigest()
        self.commits.append(commit)
        self.trees[commit] = tree
        return commit

    async def changed_here(self) -> AsyncGenerator[None, None]:
        """Nobody tells."""
        for _ in ():
            yield

    async def fetch(self) -> None:
        """All of it is here."""

    async def revision(self, ref: str) -> Revision:
        commit = ref or self.commits[-1]
        if commit not in self.trees:
            raise SourceError(f"{ref} does not exist")
        return Revision(commit=commit, ref="main")

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        return dict(sorted(self.trees[revision.commit].items()))

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        before, after = (self.trees.get(item.commit, {}) for item in (old, new))
        return frozenset(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        if old.commit not in self.trees or new.commit not in self.trees:
            return False
        return self.commits.index(old.commit) <= self.commits.index(new.commit)
