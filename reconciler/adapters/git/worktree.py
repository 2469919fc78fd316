"""WorkingTree: the files as they are on disk, inside a Git repository or without one.

Git is asked only which files there are; no filter, attribute or hook of the repository runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path

from reconciler.adapters.git.command import Git, Limits, find_root
from reconciler.adapters.git.disk import Folder, Seen, walk
from reconciler.adapters.git.local import SHA1_LENGTH, dirty_paths, head, listed, prefix_of
from reconciler.adapters.git.paths import text_of
from reconciler.adapters.git.trees import Trees, too_many
from reconciler.adapters.git.watching import files_written
from reconciler.model.errors import SourceError
from reconciler.model.source import Blob, Revision


class WorkingTree:
    """The files below `fleet_dir` as they are; what .gitignore names is left out.

    `root` is the repository's folder; where it is none, all files below `fleet_dir` are read but those in `.git` and
    `.reconciler`. Between two revisions of the working tree, `changed` compares with what `blobs` answered last.
    """

    def __init__(self, root: Path, fleet_dir: Path, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._git = Git(root, self._limits) if find_root(root) == root.resolve() else None
        self._prefix = prefix_of(root, fleet_dir)
        self._trees = Trees(self._git, self._prefix) if self._git else None
        self._seen = Seen()
        self._fleet = fleet_dir
        self._last: Mapping[str, str] = {}

    async def fetch(self) -> None:
        """Nothing: these files are where people write."""

    async def revision(self, ref: str) -> Revision:
        if ref:
            raise SourceError(f"the working tree has no revision {ref!r}", hint="leave --working-tree out, or --ref")
        if self._git is None or self._trees is None:
            return Revision(commit="", working_tree=True)
        commit, branch = await head(self._git)
        dirty = await dirty_paths(self._git, self._trees, commit, self._prefix, self._seen) if commit else ()
        return Revision(commit=commit, ref=branch, working_tree=True, dirty=dirty)

    async def blobs(self, revision: Revision) -> Mapping[str, Blob]:
        if not self._fleet.is_dir():
            raise SourceError(f"there is no folder {self._fleet}", hint="name the fleet's folder with -C")
        if self._git is None:
            names: Iterable[bytes] = walk(self._fleet, self._limits)
        else:
            names = await listed(self._git, self._prefix, "--cached", "--others", "--exclude-standard", "--deduplicate")
        blobs = await asyncio.to_thread(self._read, names, len(revision.commit) or SHA1_LENGTH)
        self._last = {path: blob.id for path, blob in blobs.items()}
        return blobs

    def _read(self, names: Iterable[bytes], id_length: int) -> dict[str, Blob]:
        folder = Folder(self._fleet, self._limits, id_length)
        found: dict[str, Blob] = {}
        total = 0
        for name in names:
            blob = folder.entry(name)
            if blob is None:
                continue
            found[text_of(name, self._limits)] = blob
            total += len(blob.data)
            if len(found) > self._limits.files:
                raise too_many(self._fleet, len(found), self._limits)
            if total > self._limits.total:
                raise SourceError(
                    f"more than {self._limits.total} bytes of YAML below {self._fleet}",
                    hint="keep the fleet in a folder of its own",
                )
        return dict(sorted(found.items()))

    def changed_here(self) -> AsyncGenerator[None, None]:
        """See the port."""
        return files_written(self._fleet)

    async def changed(self, old: Revision, new: Revision) -> frozenset[str]:
        before = dict(self._last) if old.working_tree else await self._ids(old)
        after = (
            {path: blob.id for path, blob in (await self.blobs(new)).items()}
            if new.working_tree
            else (await self._ids(new))
        )
        return frozenset(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

    async def _ids(self, revision: Revision) -> Mapping[str, str]:
        """Blob ids of a commit's files."""
        if self._trees is None or not revision.commit:
            return {}
        return {path: entry.id for path, entry in (await self._trees.at(revision.commit)).entries.items()}

    async def is_ancestor(self, old: Revision, new: Revision) -> bool:
        """By their commits; what is not committed yet follows any commit."""
        if self._git is None or not old.commit or old.commit == new.commit:
            return True
        return (await self._git.run("merge-base", "--is-ancestor", old.commit, new.commit)).code == 0
