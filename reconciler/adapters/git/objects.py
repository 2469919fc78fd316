"""Reading commits: names of refs, trees by `ls-tree`, bytes by `cat-file --batch`, differences by `diff-tree`.

Objects are read by id, and each blob's bytes are checked against its id: what a Blob says holds, whatever is in the
object store.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.git.command import Answer, Git, Limits
from reconciler.adapters.git.paths import counts, text_of
from reconciler.model.errors import SourceError
from reconciler.model.source import Blob

_OBJECT_ID = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
LONG_ID = 64
"""Hex digits of an id in a SHA-256 repository; 40 in others."""
_REF = re.compile(r"[^\x00-\x20\x7f:?*\[\\]{1,500}\Z")
_DAMAGED = "run `git fsck`; then fetch or clone again"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree that counts; `raw` is its path as Git has it."""

    path: str
    raw: bytes
    mode: str
    id: str


def hash_blob(data: bytes, length: int) -> str:
    """Git's id of a blob; `length` is that of ids in this repository, in hex digits."""
    head = b"blob %d\0" % len(data)
    maker = hashlib.sha256(head) if length == LONG_ID else hashlib.sha1(head, usedforsecurity=False)
    maker.update(data)
    return maker.hexdigest()


def check_ref(ref: str) -> str:
    """Refuse what is no name of a revision: options, searches, paths inside a commit. Raises SourceError."""
    if ref.startswith(("-", "^")) or not _REF.match(ref) or "^{/" in ref:
        raise SourceError(
            f"{ref[:80]!r} is not the name of a revision",
            hint="give a branch, a tag, a commit id, or something like main~2",
        )
    return ref


async def resolve(git: Git, ref: str) -> str:
    """The commit that `ref` names. Raises SourceError when there is none, or it is no commit."""
    answer = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{check_ref(ref)}^{{commit}}")
    commit = answer.out.decode("ascii", "replace").strip()
    if answer.code == 0 and _OBJECT_ID.match(commit):
        return commit
    other = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
    if other.code == 0:
        raise SourceError(f"{ref} is no commit", hint="give a branch, a tag of a commit, or a commit id")
    if answer.err:
        raise failure(git, answer, f"read {ref}")
    raise SourceError(f"there is no revision {ref!r} in {git.folder}", hint="see `git branch -a`, or fetch first")


async def find_tree(git: Git, commit: str, prefix: str) -> str | None:
    """What lies at the folder `prefix` ("" for the root) of a commit; None when nothing does."""
    if not prefix:
        return commit
    found = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}:{prefix}")
    tree = found.out.decode("ascii", "replace").strip()
    return tree if found.code == 0 and _OBJECT_ID.match(tree) else None


async def list_tree(git: Git, commit: str, prefix: str) -> dict[str, Entry]:
    """The files that count below the folder `prefix` ("" for the root) of a commit, by path from there.

    Raises SourceError for a commit or folder that is not there, and for trees that no honest tool writes.
    """
    tree = await find_tree(git, commit, prefix)
    if tree is None:
        raise SourceError(
            f"commit {commit[:7]} has no folder {prefix}", hint="commit it first, or look at --working-tree"
        )
    answer = await git.run("ls-tree", "-r", "-z", "--full-tree", tree)
    if answer.code != 0:
        raise failure(git, answer, f"list the files of {commit[:7]}")
    entries: dict[str, Entry] = {}
    for line in answer.out.split(b"\0")[:-1]:
        head, _, path = line.partition(b"\t")
        mode, _, id_ = head.decode("ascii", "replace").split(" ")
        if not counts(path, mode):
            continue
        text = text_of(path, git.limits)
        if text in entries:
            raise SourceError(f"commit {commit[:7]} holds {text} twice", hint="somebody wrote this tree by hand")
        entries[text] = Entry(text, path, mode, id_)
    if len(entries) > git.limits.files:
        raise too_many(git.folder, len(entries), git.limits)
    return entries


def too_many(folder: Path, count: int, limits: Limits) -> SourceError:
    return SourceError(
        f"{count} files of a fleet in {folder}, {limits.files} are allowed",
        hint="keep the fleet in a folder of its own",
    )


async def read_blobs(git: Git, entries: Iterable[Entry]) -> dict[str, bytes]:
    """The bytes of all ids, each read once and checked. Raises SourceError naming the path that cannot be read."""
    paths = {entry.id: entry.path for entry in entries}
    if not paths:
        return {}
    feed = "".join(f"{id_}\n" for id_ in paths).encode()
    answer = await git.run("cat-file", "--batch", "--buffer", feed=feed, cap=git.limits.total)
    found = dict(_batch(git, answer.out, paths))
    if answer.code != 0 or len(found) != len(paths):
        first = next((path for id_, path in paths.items() if id_ not in found), "")
        raise failure(git, answer, f"read {first}")
    return found


def _batch(git: Git, out: bytes, paths: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    start = 0
    while (end := out.find(b"\n", start)) >= 0:
        id_, *what = out[start:end].decode("ascii", "replace").split(" ")
        if len(what) != 2 or what[0] != "blob":
            raise SourceError(f"{paths.get(id_, id_)}: object {id_} is {' '.join(what)} in {git.folder}", hint=_DAMAGED)
        size = int(what[1])
        data = out[end + 1 : end + 1 + size]
        if len(data) < size:
            return
        if size > git.limits.blob:
            raise too_large(paths[id_], size, git.limits.blob)
        if hash_blob(data, len(id_)) != id_:
            raise SourceError(f"{paths[id_]}: object {id_} is damaged in {git.folder}", hint=_DAMAGED)
        yield id_, data
        start = end + 2 + size


def too_large(path: str, size: int, allowed: int) -> SourceError:
    return SourceError(f"{path} has {size} bytes, {allowed} are allowed", hint="a document of an agent is small text")


async def differing(git: Git, old: str, new: str, prefix: str) -> frozenset[str]:
    """Paths that count and differ between two commits, from the folder `prefix`."""
    scope = ("--", prefix) if prefix else ()
    answer = await git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", old, new, *scope)
    if answer.code != 0:
        raise failure(git, answer, f"compare {old[:7]} with {new[:7]}")
    return frozenset(text for text in raw_paths(git, answer.out, prefix))


def raw_paths(git: Git, out: bytes, prefix: str) -> Iterator[str]:
    """The paths that count of git's raw diff format with -z."""
    fields = out.split(b"\0")
    skip = len(os.fsencode(prefix)) + 1 if prefix else 0
    for head, path in zip(fields[0:-1:2], fields[1::2], strict=False):
        modes = head.decode("ascii", "replace").lstrip(":").split(" ")[:2]
        short = path[skip:]
        if any(counts(short, mode) for mode in modes):
            yield text_of(short, git.limits)


def failure(git: Git, answer: Answer, doing: str) -> SourceError:
    """What a failed git says, for people."""
    said = answer.err.splitlines()
    text = next((line for line in said if line.startswith(("fatal:", "error:"))), said[0] if said else "")
    text = "".join(c if c.isprintable() else "?" for c in text)
    if "dubious ownership" in answer.err:
        return SourceError(
            f"{git.folder} belongs to another user, and git refuses to read it",
            hint=f"if you trust it: git config --global --add safe.directory {git.folder}",
        )
    if "not a git repository" in answer.err:
        return SourceError(f"{git.folder} is no Git repository", hint="run `git init` there, or use --working-tree")
    how = f"exit code {answer.code}" if answer.code >= 0 else f"signal {-answer.code}"
    return SourceError(f"{git.folder}: cannot {doing}: {text[:500] or how}", hint=_DAMAGED)


def to_blobs(entries: dict[str, Entry], data: dict[str, bytes]) -> dict[str, Blob]:
    """Blobs by path, sorted."""
    return {path: Blob(id=e.id, data=data[e.id], mode=e.mode) for path, e in sorted(entries.items())}
