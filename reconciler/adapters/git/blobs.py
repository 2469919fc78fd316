"""Bytes of blobs by `cat-file --batch`, looked at as they come: a document too large to be one is not waited for."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.adapters.git.command import Git
from reconciler.adapters.git.objects import DAMAGED, Entry, failure, hash_blob
from reconciler.model.errors import SourceError

_STREAMED = {"core.bigFileThreshold": "1m"}
"""From which size on git hands objects through instead of holding them."""


async def read_blobs(git: Git, entries: Iterable[Entry]) -> dict[str, bytes]:
    """The bytes of all ids, each read once and checked. Raises SourceError naming the path that cannot be read."""
    paths = {entry.id: entry.path for entry in entries}
    if not paths:
        return {}
    reading = _Reading(git, paths)
    feed = "".join(f"{id_}\n" for id_ in paths).encode()
    answer = await git.run("cat-file", "--batch", "--buffer", feed=feed, sink=reading.take, settings=_STREAMED)
    if answer.code != 0 or len(reading.found) != len(paths):
        first = next((path for id_, path in paths.items() if id_ not in reading.found), "")
        raise failure(git, answer, f"read {first}")
    return reading.found


class _Reading:
    """What has come of the batch so far."""

    def __init__(self, git: Git, paths: dict[str, str]) -> None:
        self._git = git
        self._paths = paths
        self._rest = bytearray()
        self._total = 0
        self.found: dict[str, bytes] = {}

    def take(self, chunk: bytes) -> None:
        """Take what came next. Raises SourceError for an object that is none of ours, damaged or too large."""
        rest = self._rest
        rest += chunk
        start = 0
        while (end := rest.find(b"\n", start)) >= 0:
            id_, size = self._head(rest[start:end].decode("ascii", "replace"))
            if len(rest) < end + 2 + size:
                break
            data = bytes(rest[end + 1 : end + 1 + size])
            if hash_blob(data, len(id_)) != id_:
                path = self._paths.get(id_, id_)
                raise SourceError(f"{path}: object {id_} is damaged in {self._git.folder}", hint=DAMAGED)
            self.found[id_] = data
            self._total += size
            start = end + 2 + size
        del rest[:start]

    def _head(self, line: str) -> tuple[str, int]:
        git = self._git
        id_, *what = line.split(" ")
        path = self._paths.get(id_, id_)
        if len(what) != 2 or what[0] != "blob":
            raise SourceError(f"{path}: object {id_} is {' '.join(what)} in {git.folder}", hint=DAMAGED)
        size = int(what[1])
        if size > git.limits.blob:
            raise too_large(path, size, git.limits.blob)
        if self._total + size > git.limits.total:
            raise SourceError(
                f"more than {git.limits.total} bytes of YAML in {git.folder}",
                hint="keep the fleet in a repository, or a folder, of its own",
            )
        return id_, size


def too_large(path: str, size: int, allowed: int) -> SourceError:
    return SourceError(
        f"{path} has {size} bytes, {allowed} are allowed",
        hint="a document of an agent is small text; if the file is, its object is damaged: run `git fsck`",
    )
