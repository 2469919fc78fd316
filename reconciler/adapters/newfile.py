"""How files come to be that hold what is on record: for their owner alone, and without harm to who has them open."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.model.errors import RegistryError

_making = threading.Lock()


def make_private_file(path: Path) -> None:
    """Make an empty file of mode 0600, where there is none. Raises OSError.

    A file that is there is never opened: a process loses all its POSIX locks on a file when it closes any descriptor
    of it, and SQLite's with them. The next process to leave would then fold up a write-ahead log that is still written
    to. Whoever opens a file after this call waits here for who makes it: what is closed below has no lock yet.
    """
    with _making:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        os.close(descriptor)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """An empty file of mode 0600 beside `target`. It takes the target's place, on the disk, when all went well; else it
    is removed, and what was there stays. Raises RegistryError.
    """
    if target.exists() and not target.is_file():
        raise RegistryError(f"{target} is not a regular file", hint="name a file to write to")
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        os.close(descriptor)
    except OSError as error:
        raise RegistryError(
            f"cannot write {target}: {error.strerror}", hint="name a file in a folder that can be written"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        _synced(temporary, os.O_RDWR)
        temporary.replace(target)
        _synced(target.parent, os.O_RDONLY)
    except OSError as error:
        raise RegistryError(f"cannot write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _synced(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
