"""Which plugins there are, by name: what an operator put into a folder, and what is installed beside this program.

A name comes out of a commit, and selects among these; it is never a path.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Self

from reconciler.model.errors import ReconcilerError

GROUP = "reconciler.health"
CHILD = "reconciler.adapters.plugins.child"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z", re.ASCII)


class NoPlugin(ReconcilerError):
    """There is no plugin of a name, or it is not one that may be run."""


@dataclass(frozen=True, slots=True)
class Installed:
    """`folder` holds executables, None for entry points alone."""

    folder: Path | None = None

    @classmethod
    def given(cls, folder: Path | None, *, repository: Path | None) -> Self:
        """The plugins of a folder. Raises ReconcilerError for one that is not there, that others may write into, or
        that is in the repository: whoever may commit could otherwise have any program run here.
        """
        if folder is None:
            return cls()
        if not folder.is_dir():
            raise ReconcilerError(f"{folder} is no folder", hint="make it, and put executables into it")
        if repository is not None and folder.resolve().is_relative_to(repository.resolve()):
            raise ReconcilerError(
                f"{folder} is inside of the repository: a commit could have any program run here",
                hint="keep plugins where only this machine's operator writes",
            )
        for one in (folder, folder.resolve()):
            _private(one)
        return cls(folder.absolute())

    def command(self, name: str) -> tuple[str, ...]:
        """What is run for a plugin. An executable comes before an entry point of the same name. Raises NoPlugin."""
        if not _NAME.match(name):
            raise NoPlugin(f"{name[:80]!r} is no name of a plugin")
        if self.folder is not None:
            path = self.folder / name
            if path.exists():
                _judge(path)
                return (str(path.absolute()),)
        if name in _entry_points():
            return (sys.executable, "-I", "-m", CHILD, name)
        where = f"in {self.folder} or " if self.folder is not None else ""
        raise NoPlugin(f"no plugin {name} is {where}installed here")


@cache
def _entry_points() -> frozenset[str]:
    """What is installed; a package that is added while this runs is seen by the next run."""
    return frozenset(one.name for one in entry_points(group=GROUP))


def _judge(path: Path) -> None:
    """Raises NoPlugin for a file that somebody else could have written."""
    for one in (path, path.parent, path.resolve().parent):
        _private(one)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise NoPlugin(f"{path} is no executable file")


def _private(path: Path) -> None:
    """Raises NoPlugin for what others than root and ourselves may write."""
    facts = path.stat()
    if facts.st_uid not in {0, os.geteuid()} or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoPlugin(
            f"{path} can be written by others: nothing of it is run", hint="let only root or this user write there"
        )
