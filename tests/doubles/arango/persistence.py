"""A file that keeps what a store was told: one line of JSON a change. A last line that is torn never happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from tests.doubles.arango import values
from tests.doubles.arango.store import Store


class FileJournal:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def open(self) -> Store:
        """The store as the file tells it; what happens to it from now on is told to the file."""
        store = Store(self._write)
        if self._path.exists():
            whole = self._path.read_bytes()
            end = whole.rfind(b"\n") + 1
            for line in whole[:end].splitlines():
                store.restore(values.loads(line))
            if end < len(whole):
                with self._path.open("r+b") as file:
                    file.truncate(end)
        self._file = self._path.open("a", encoding="utf-8")
        return store

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
