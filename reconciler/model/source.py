"""Where things come from: revisions, blobs, documents, positions, provenance, diagnostics."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JsonObject = Mapping[str, Any]
"""A JSON mapping, treated as immutable wherever it travels. Leaves: str, bool, int, float, None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A Git commit (40 or 64 hex digits), or a working tree on top of one. `commit` is "" before a first commit."""

    commit: str
    ref: str = ""
    working_tree: bool = False
    dirty: tuple[str, ...] = ()
    """Paths in the working tree that differ from the commit, sorted."""

    @property
    def short(self) -> str:
        return self.commit[:7]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file's bytes. `id` is Git's blob id: equal ids, equal bytes. `mode` is Git's (120000: a link)."""

    id: str
    data: bytes = field(repr=False)
    mode: str = "100644"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in a file; `line` and `column` count from 1, columns in characters; `length` of what is underlined."""

    path: str
    line: int = 1
    column: int = 1
    length: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML mapping. `marks` packs the positions of all keys and values; spec.documents alone reads them."""

    path: str
    blob: str
    index: int
    value: JsonObject
    marks: array[int] = field(repr=False, compare=False)
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One document of an agent's inheritance: `name` is the template's, or "" for the agent's own file."""

    name: str
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a resolved field's value was written. `layer` is "template base", "agent" or "default"."""

    layer: str
    revision: str
    position: Position | None


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A finding for a person. `code` is kebab-case and stable; `hint` says what to do; `snippet` is the source line."""

    severity: Severity
    code: str
    message: str
    position: Position
    hint: str = ""
    snippet: str = ""
    chain: tuple[str, ...] = ()
    """Further lines, e.g. a cycle or an inheritance chain."""
