"""Reading a container's log: the file, the part that was rotated away before it, and what comes next.

`CONTAINER.log` is being written, `CONTAINER.log.1` is what was before it, `CONTAINER.log.previous` is the run before
the last restart. Who writes them is the kubelet.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from reconciler.model.objects import LogOptions

MAX_LINE = 65_536
"""Bytes after which a line without an end is cut."""
_POLL_SECONDS = 0.1
_LOOKS_PER_CHECK = 5


async def lines(
    folder: Path, container: str, options: LogOptions, alive: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """Lines without their ends. With `follow`, goes on until `alive` says no and the file has no more."""
    current = folder / f"{container}.log"
    if options.previous:
        for line in await asyncio.to_thread(_kept, [folder / f"{container}.log.previous"], options.tail):
            yield line
        return
    follower = _Follower(current)
    try:
        await asyncio.to_thread(follower.open)
        for line in await asyncio.to_thread(_kept_before, follower, folder / f"{container}.log.1", options):
            yield line
        looks = 0
        while options.follow:
            more = await asyncio.to_thread(follower.more)
            for line in more:
                yield line
            looks += 1
            if more:
                continue
            if looks % _LOOKS_PER_CHECK == 0 and not await alive():
                for line in await asyncio.to_thread(follower.more, last=True):
                    yield line
                return
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        follower.close()


class _Follower:
    """One open file, and what is there once that one was rotated or replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def open(self) -> None:
        """Open the file if it is there (again)."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def more(self, *, last: bool = False) -> list[str]:
        """Whole lines that were written since; with `last`, an unfinished one too."""
        self.open()
        if self._file is None:
            return []
        data = self._rest + self._file.read(MAX_LINE * 16)
        if self._replaced() and not data.endswith(b"\n") and len(data) < MAX_LINE:
            last = True
        *whole, self._rest = data.split(b"\n")
        if self._rest and (last or len(self._rest) >= MAX_LINE):
            whole.append(self._rest)
            self._rest = b""
        if not whole and self._replaced():
            self.close()
            self.open()
        return [_text(line) for line in whole]

    def _replaced(self) -> bool:
        """Whether the path now leads to another file, or to one that was cut off."""
        if self._file is None:
            return False
        here = os.fstat(self._file.fileno())
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if here.st_ino == there.st_ino and there.st_size < self._file.tell():
            return True
        return here.st_ino != there.st_ino


def _kept_before(follower: _Follower, rotated: Path, options: LogOptions) -> list[str]:
    """What is kept now: the rotated part, then all that the open file has."""
    found: deque[str] = deque(_read(rotated), maxlen=options.tail)
    while more := follower.more():
        found.extend(more)
    if not options.follow:
        found.extend(follower.more(last=True))
    return list(found)


def _kept(paths: list[Path], tail: int | None) -> list[str]:
    found: deque[str] = deque(maxlen=tail)
    for path in paths:
        found.extend(_read(path))
    return list(found)


def _read(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE):
                yield _text(line.removesuffix(b"\n"))
    except FileNotFoundError:
        return


def _text(line: bytes) -> str:
    return line[:MAX_LINE].removesuffix(b"\r").decode(errors="replace")
