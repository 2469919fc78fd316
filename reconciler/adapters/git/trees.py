"""What a commit's fleet folder holds: listed by `ls-tree` once, then from one commit to the next by `diff-tree`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.git.command import Git, Limits
from reconciler.adapters.git.objects import OBJECT_ID, Entry, failure
from reconciler.adapters.git.paths import SUFFIXES, counts, text_of
from reconciler.model.errors import NothingCommitted, SourceError

KEPT = 2
_BY_HAND = "somebody wrote this tree by hand"


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries by path, sorted. `changed` are the paths that differ from the entries `since`, where these are known."""

    entries: Mapping[str, Entry]
    since: Mapping[str, Entry] | None = None
    changed: frozenset[str] = frozenset()


class Trees:
    """Listings of one folder (`prefix`, "" for the root) of a repository; the last ones are kept by tree."""

    def __init__(self, git: Git, prefix: str) -> None:
        self._git = git
        self._prefix = prefix
        self._kept: dict[str, Listing] = {}

    async def find(self, commit: str) -> Listing | None:
        """What the folder holds in a commit; None when there is no folder.

        Raises SourceError for a commit that is not there, and for trees that no honest tool writes.
        """
        tree = await self._tree(commit)
        if tree is None:
            return None
        known = self._kept.pop(tree, None)
        if known is None:
            known = await self._step(tree) or await self._list(tree, commit)
        self._kept = dict([*list(self._kept.items())[1 - KEPT :], (tree, known)])
        return known

    async def at(self, commit: str) -> Listing:
        """As `find`. Raises SourceError also when there is no folder."""
        found = await self.find(commit)
        if found is None:
            raise self._no_folder(commit)
        return found

    def _no_folder(self, commit: str) -> NothingCommitted:
        return NothingCommitted(
            f"commit {commit[:7]} has no folder {self._prefix}", hint="commit it first, or look at --working-tree"
        )

    async def _tree(self, commit: str) -> str | None:
        """What lies at the folder; for the root the commit itself, which git takes for its tree."""
        if not self._prefix:
            return commit
        found = await self._git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}:{self._prefix}")
        tree = found.out.decode("ascii", "replace").strip()
        return tree if found.code == 0 and OBJECT_ID.match(tree) else None

    async def _list(self, tree: str, commit: str) -> Listing:
        git = self._git
        answer = await git.run("ls-tree", "-r", "-z", "--full-tree", tree)
        if answer.code != 0:
            if "not a tree object" in answer.err:
                raise self._no_folder(commit)
            raise failure(git, answer, f"list the files of {self._prefix or 'the root'} in commit {commit[:7]}")
        named = sum(answer.out.count(suffix + b"\0") for suffix in SUFFIXES)
        if named > git.limits.files:
            raise too_many(git.folder, named, git.limits)
        entries: dict[str, Entry] = {}
        for line in answer.out.split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, _, id_ = head.decode("ascii", "replace").split(" ")
            if not counts(path, mode):
                continue
            text = text_of(path, git.limits)
            if text in entries:
                raise SourceError(f"commit {commit[:7]} holds {text} twice", hint=_BY_HAND)
            entries[text] = Entry(text, path, mode, id_)
        if len(entries) > git.limits.files:
            raise too_many(git.folder, len(entries), git.limits)
        return Listing(dict(sorted(entries.items())))

    async def _step(self, tree: str) -> Listing | None:
        """From the last listing to this tree's. None without one, or when the difference does not fit what is known.

        So a tree that holds a name twice, or is sorted otherwise than Git sorts, is listed as a whole and judged there.
        """
        if not self._kept:
            return None
        old, before = list(self._kept.items())[-1]
        answer = await self._git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", old, tree)
        if answer.code != 0:
            return None
        entries = dict(before.entries)
        changed, fresh = set(), False
        for text, was, now in _differences(answer.out, self._git.limits):
            if entries.get(text) != was:
                return None
            changed.add(text)
            fresh = fresh or was is None
            if now is None:
                del entries[text]
            else:
                entries[text] = now
        if len(entries) > self._git.limits.files:
            return None
        return Listing(dict(sorted(entries.items())) if fresh else entries, before.entries, frozenset(changed))


def _differences(out: bytes, limits: Limits) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Path, what counted there before and what counts now, of git's raw diff format with -z; None for what does not."""
    fields = out.split(b"\0")
    for head, path in zip(fields[0:-1:2], fields[1::2], strict=False):
        old_mode, new_mode, old_id, new_id = head.decode("ascii", "replace").lstrip(":").split(" ")[:4]
        was, now = counts(path, old_mode), counts(path, new_mode)
        if was or now:
            text = text_of(path, limits)
            yield (
                text,
                Entry(text, path, old_mode, old_id) if was else None,
                Entry(text, path, new_mode, new_id) if now else None,
            )


def too_many(folder: Path, count: int, limits: Limits) -> SourceError:
    return SourceError(
        f"{count} files of a fleet in {folder}, {limits.files} are allowed",
        hint="keep the fleet in a folder of its own",
    )
