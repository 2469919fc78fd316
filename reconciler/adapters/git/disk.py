"""Files on disk: read without following links, and never opened unless they are regular files."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path

from reconciler.adapters.git.blobs import too_large
from reconciler.adapters.git.command import Limits
from reconciler.adapters.git.objects import Entry, hash_blob
from reconciler.adapters.git.paths import IGNORED, LINK, REGULAR, counts, text_of
from reconciler.model.errors import SourceError
from reconciler.model.source import Blob

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 16


class Seen:
    """Files that were found equal to an entry of a commit, by path: as long as nobody touched one, it still is.

    "Touched" is what the file system says: inode, size, mode and both times. A file that changed within the last
    seconds is not remembered, since one more change may leave all of that as it is ("racy git").
    """

    SETTLED_NS = 3_000_000_000

    def __init__(self) -> None:
        self._same: dict[bytes, tuple[str, bytes, tuple[int, ...]]] = {}

    def others(self, root: bytes, entries: Iterable[Entry], is_real: Callable[[bytes], bool]) -> list[Entry]:
        """The entries whose files below `root` are not known to be what they say. One look at a file, and no more."""
        same, lstat = self._same, os.lstat
        start = root + b"/"
        found = []
        for entry in entries:
            raw = entry.raw
            id_, parent, touch = same.get(raw, _NEVER)
            try:
                if id_ == entry.id and touch == _touch(lstat(start + raw)) and is_real(parent):
                    continue
            except OSError:
                pass
            found.append(entry)
        return found

    def note(self, entry: Entry, then: os.stat_result) -> None:
        """Remember that the file, whose state was `then` before it was read, is what the entry says."""
        if time.time_ns() - max(then.st_mtime_ns, then.st_ctime_ns) > self.SETTLED_NS:
            self._same[entry.raw] = entry.id, entry.raw.rpartition(b"/")[0], _touch(then)


_touch = attrgetter("st_mode", "st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns")
_NEVER: tuple[str, bytes, tuple[int, ...]] = ("", b"", ())


class Folder:
    """A folder whose files are read by their paths in it, as bytes, with parts joined by `/`."""

    def __init__(self, root: Path, limits: Limits, id_length: int, seen: Seen | None = None) -> None:
        self._root = os.fsencode(root)
        self._limits = limits
        self._id_length = id_length
        self._seen = seen or Seen()
        self._real: dict[bytes, bool] = {b"": True}

    def read(self, path: bytes, text: str) -> Blob | None:
        """A file or link; None for what is not there, is neither, or lies behind a link.

        Raises SourceError, naming `text`, for a file that cannot be read or is too large.
        """
        parent, _, _ = path.rpartition(b"/")
        if not self._is_real(parent):
            return None
        full = os.path.join(self._root, path)  # noqa: PTH118  # Path knows no bytes
        try:
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                return self._blob(os.readlink(full), LINK)  # noqa: PTH115  # as above
            if not stat.S_ISREG(mode):
                return None
            return self._blob(self._bytes(full, text), "100755" if mode & stat.S_IXUSR else "100644")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(
                f"{text} cannot be read: {error.strerror}", hint="see its permissions, and those of its folder"
            ) from error

    def entry(self, path: bytes) -> Blob | None:
        """The file when it can be part of a fleet; of one that cannot, only whether it is a link is looked at."""
        if counts(path, REGULAR):
            return self.read(path, text_of(path, self._limits))
        parent, _, _ = path.rpartition(b"/")
        if counts(path, LINK) and self._is_real(parent) and stat.S_ISLNK(self._mode(path)):
            return self.read(path, text_of(path, self._limits))
        return None

    def differing(self, entries: Iterable[Entry]) -> set[str]:
        """Paths whose files are other ones than a commit's; line ends converted at check-out are no difference."""
        others = self._seen.others(self._root, entries, self._is_real)
        return {entry.path for entry in others if self._differs(entry)}

    def _differs(self, entry: Entry) -> bool:
        parent, _, _ = entry.raw.rpartition(b"/")
        then = self._stat(entry.raw) if self._is_real(parent) else None
        blob = self.read(entry.raw, entry.path)
        if blob is None or (blob.mode == LINK) != (entry.mode == LINK):
            return True
        if blob.id == entry.id or hash_blob(blob.data.replace(b"\r\n", b"\n"), self._id_length) == entry.id:
            if then is not None:
                self._seen.note(entry, then)
            return False
        return True

    def _bytes(self, full: bytes, text: str) -> bytes:
        handle = os.open(full, _FLAGS)
        try:
            size = os.fstat(handle).st_size
            parts = []
            while size <= self._limits.blob and (part := os.read(handle, _CHUNK)):
                parts.append(part)
                size = max(size, sum(map(len, parts)))
        finally:
            os.close(handle)
        if size > self._limits.blob:
            raise too_large(text, size, self._limits.blob)
        return b"".join(parts)

    def _blob(self, data: bytes, mode: str) -> Blob:
        return Blob(id=hash_blob(data, self._id_length), data=data, mode=mode)

    def _is_real(self, folder: bytes) -> bool:
        """Whether no part of a folder's path is a link."""
        known = self._real.get(folder)
        if known is None:
            parent, _, _ = folder.rpartition(b"/")
            known = self._is_real(parent) and stat.S_ISDIR(self._mode(folder))
            self._real[folder] = known
        return known

    def _mode(self, path: bytes) -> int:
        found = self._stat(path)
        return found.st_mode if found else 0

    def _stat(self, path: bytes) -> os.stat_result | None:
        try:
            return os.lstat(os.path.join(self._root, path))  # noqa: PTH118  # as above
        except OSError:
            return None


def walk(root: Path, limits: Limits) -> Iterator[bytes]:
    """Paths of all files and links below `root`, links not followed, ignored folders left out, in order.

    Raises SourceError for a folder that cannot be listed, and beyond the limits.
    """
    pending = [b""]
    seen = 0
    base = os.fsencode(root)
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as found:  # noqa: PTH118  # Path knows no bytes
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            name = os.fsdecode(folder) or str(root)
            raise SourceError(f"folder {name!r} cannot be listed: {error.strerror}", hint="see its permissions") from (
                error
            )
        seen += len(entries)
        if seen > limits.files * 2:
            raise SourceError(
                f"more than {limits.files * 2} files below {root}", hint="keep the fleet in a folder of its own"
            )
        folders = []
        for entry in entries:
            path = folder + b"/" + entry.name if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in IGNORED and path.count(b"/") < limits.depth:
                    folders.append(path)
            else:
                yield path
        pending.extend(reversed(folders))
