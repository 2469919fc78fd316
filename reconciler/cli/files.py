"""Writing files so that nobody ever reads half of one, and with the mode that they need."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from reconciler.model.errors import UsageError


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path`: temporary file beside it, fsync, rename, fsync of the folder.

    Only a regular file is ever replaced. Raises UsageError where it cannot be written.
    """
    with writing(path, mode=mode) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """As `write_atomically`, for what comes in pieces: it is in place when the block ends, and never if it fails."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file", hint="name a file to write")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - the counterpart of mkstemp, which answers text
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108 - as above
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot write {str(path)[:300]}: {reason}") from error


def refuse_another(path: Path, what: str, *begins: bytes) -> None:
    """Raises UsageError for a file that is there and was not written as this: only its own kind may be replaced."""
    try:
        with path.open("rb") as stream:
            head = stream.read(max(map(len, begins)))
    except OSError:
        return  # not there, or whoever writes it says what is wrong
    if head and not head.startswith(begins):
        raise UsageError(f"{str(path)[:300]} is there, and is no {what}", hint="name another file, or remove it first")


def make_private(folder: Path) -> None:
    """Make `folder` and what is missing above it, readable for its owner alone. Raises UsageError."""
    try:
        for missing in reversed([folder, *folder.parents]):
            if not missing.exists():
                missing.mkdir(mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}") from error
