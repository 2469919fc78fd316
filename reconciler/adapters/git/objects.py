"""Names of commits and ids of objects, which paths differ between two commits, and what is said when git fails.

Objects are read by id, and each blob's bytes are checked against its id: what a Blob says holds, whatever is in the
object store.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.adapters.git.command import Answer, Git
from reconciler.adapters.git.paths import counts, text_of
from reconciler.model.errors import NothingCommitted, SourceError

OBJECT_ID = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
LONG_ID = 64
"""Hex digits of an id in a SHA-256 repository; 40 in others."""
_REF = re.compile(r"[^\x00-\x20\x7f:?*\[\\]{1,500}\Z")
DAMAGED = "run `git fsck`; then fetch or clone again"


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


_AS_IT_IS = re.compile(r"refs/|HEAD(?![\w/.-])|@")
"""What begins a name that says by itself which of all that are named so it is."""


async def resolve(git: Git, ref: str) -> str:
    """The commit that `ref` names. Raises SourceError when there is none, or it is no commit.

    Of a branch and a tag with the same name it is the branch, as for a check-out: who may push tags could otherwise
    put one before a branch that is protected.
    """
    ways = [check_ref(ref)]
    if not OBJECT_ID.match(ref) and not _AS_IT_IS.match(ref):
        ways.insert(0, f"refs/heads/{ref}")
    for way in ways:
        answer = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{way}^{{commit}}")
        commit = answer.out.decode("ascii", "replace").strip()
        if answer.code == 0 and OBJECT_ID.match(commit):
            return commit
    other = await git.run("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
    if other.code == 0:
        raise SourceError(f"{ref} is no commit", hint="give a branch, a tag of a commit, or a commit id")
    if answer.err:
        raise failure(git, answer, f"read {ref}")
    raise SourceError(f"there is no revision {ref!r} in {git.folder}", hint="see `git branch -a`, or fetch first")


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
        return NothingCommitted(
            f"{git.folder} is no Git repository", hint="run `git init` there, or use --working-tree"
        )
    how = f"exit code {answer.code}" if answer.code >= 0 else f"signal {-answer.code}"
    return SourceError(f"{git.folder}: cannot {doing}: {text[:500] or how}", hint=DAMAGED)
