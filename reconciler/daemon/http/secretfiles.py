"""What is known from files that change while a daemon runs: lists of callers, secrets of webhooks.

A file is read again when it changed. One that cannot be used is as if it were empty: nobody gets in by an old list; it
is read again until it can be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from reconciler.model.errors import UsageError

T = TypeVar("T")
MAX_BYTES = 256 * 1024
LOOK_AGAIN_S = 5.0
Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> Stamp | None:
    """What a file that is written anew has another one of; None for one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(slots=True, kw_only=True)
class FromFile(Generic[T]):
    """The value of a file, read by `read(text, origin)`, which may raise UsageError; `none` where it cannot be had."""

    path: Path
    read: Callable[[str, str], T]
    none: T
    monotonic: Callable[[], float]
    troubled: Callable[[str], None] = lambda _why: None
    """Told why a file that could be used before cannot be."""
    _trouble: str = ""
    _value: T | None = None
    _stamp: Stamp | None = None
    _looked: float | None = field(default=None)

    def first(self) -> T:
        """Read it. Raises UsageError."""
        self._stamp, self._looked = stamp_of(self.path), self.monotonic()
        self._value = self._read()
        return self._value

    def now(self) -> T:
        """The value as the file says, at most some seconds late."""
        now = self.monotonic()
        if self._value is not None and self._looked is not None and now - self._looked < LOOK_AGAIN_S:
            return self._value
        self._looked = now
        stamp = stamp_of(self.path)
        if self._value is None or stamp is None or stamp != self._stamp:
            try:
                self._value, self._stamp, self._trouble = self._read(), stamp, ""
            except UsageError as error:
                self._value, self._stamp = self.none, None
                if error.message != self._trouble:
                    self._trouble = error.message
                    self.troubled(error.message)
        return self._value

    def _read(self) -> T:
        try:
            with self.path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise UsageError(f"{self.path} is larger than {MAX_BYTES // 1024} KiB")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{self.path} is no text in UTF-8") from None
        return self.read(text, str(self.path))
