"""Being told that something was written in a repository of this machine, instead of asking for it.

It only says that a look may be worth it: whoever listens asks Git. Watches are bounded, and where none can be had (the
machine's watches are used up, a file system that tells nothing) asking every so often has to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.git.command import Git
from reconciler.model.errors import SourceError

MOST_FOLDERS = 200
"""Folders beside fleet.yaml that are watched. Where there are more it is no folder of a fleet alone."""
SUFFIXES = frozenset({".yaml", ".yml"})
REFS = frozenset({"HEAD", "packed-refs"})


@dataclass(frozen=True, slots=True)
class Places:
    """What is watched: folders by themselves, and folders with all that is below them."""

    flat: tuple[Path, ...]
    deep: tuple[Path, ...]


async def refs_written(git: Git) -> AsyncGenerator[None, None]:
    """Tell whenever a branch moved, or another one was checked out. Raises SourceError."""
    answer = await git.run("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    if answer.code != 0:
        raise SourceError(f"{git.folder} is no repository", hint="name a folder of one with -C")
    own, common = (Path(line.decode("utf-8", "surrogateescape")) for line in answer.out.splitlines()[:2])

    def places() -> Places:
        deep = tuple(path for path in (common / "refs", common / "reftable") if path.is_dir())
        return Places(tuple(dict.fromkeys((own, common))), deep)

    def counts(path: Path) -> bool:
        return path.name in REFS or (path.parent not in (own, common) and path.suffix != ".lock")

    async with aclosing(_written(places, counts)) as written:
        async for _ in written:
            yield


async def files_written(folder: Path) -> AsyncGenerator[None, None]:
    """Tell whenever a file of a fleet was written, came or went in its folder. Raises SourceError."""

    def places() -> Places:
        below = (path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and not path.is_symlink())
        return Places((folder,), tuple(path for path in below if path.is_dir()))

    def counts(path: Path) -> bool:
        return path.suffix in SUFFIXES or (path.parent == folder and not path.suffix)

    async with aclosing(_written(places, counts)) as written:
        async for _ in written:
            yield


async def _written(places: Callable[[], Places], counts: Callable[[Path], bool]) -> AsyncGenerator[None, None]:
    """Watch where `places` says, also what comes to be there later; tell of paths that `counts`."""
    while True:
        try:
            there = places()
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be watched: {error.strerror}") from error
        if len(there.deep) > MOST_FOLDERS:
            raise SourceError(f"{len(there.deep)} folders are too many to be watched")
        async with aclosing(_events(there)) as events:
            async for paths in events:
                if any(counts(path) for path in paths):
                    yield
                if _now(places, there) != there:
                    break


def _now(places: Callable[[], Places], before: Places) -> Places:
    try:
        return places()
    except OSError:
        return before  # it is gone, or half there: what is watched still tells when that changes


async def _events(there: Places) -> AsyncGenerator[list[Path], None]:
    """Paths that were written, together. Raises SourceError where they cannot be watched."""
    queue: asyncio.Queue[list[Path] | Exception] = asyncio.Queue(maxsize=1)

    async def watch(paths: Iterable[Path], *, recursive: bool) -> None:
        from watchfiles import awatch

        try:
            async for changes in awatch(*paths, recursive=recursive, watch_filter=None, rust_timeout=60_000):
                await queue.put([Path(path) for _change, path in changes])
        except Exception as error:  # noqa: BLE001 - it comes from threads of native code, and has no type of its own
            await queue.put(error)
        else:
            await queue.put(OSError("the watch ended"))

    tasks = [asyncio.create_task(watch(there.flat, recursive=False))]
    if there.deep:
        tasks.append(asyncio.create_task(watch(there.deep, recursive=True)))
    try:
        while True:
            match await queue.get():
                case Exception() as error:
                    raise SourceError(f"files cannot be watched: {error}") from error
                case paths:
                    yield paths
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
