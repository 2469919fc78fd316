"""How files that SQLite is to keep come to be: for their owner alone, and without harm to who has them open."""

from __future__ import annotations

import os
import threading
from pathlib import Path

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
