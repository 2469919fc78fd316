"""What is told of an import beside the file: what is not in it, what changes, and what is to be done by hand.

May live here: the notes, and the draft that gathers them with the fields of one agent. Must not: know objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.model.identity import AgentName


class Fate(StrEnum):
    """What becomes of something."""

    LEFT_OUT = "left-out"
    """Not in the file. On an object that runs it stays as it is, and is its other manager's."""
    LOST = "lost"
    """Not in the file, and gone with the object that it stands on: that is deleted, and made anew."""
    CHANGES = "changes"
    """An adoption writes something else there."""
    TO_DO = "to-do"
    """To be done by hand, or the adoption does not go as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """`path` begins with the kind, like `Deployment spec.template.spec.volumes`; `text` says what and what to do."""

    fate: Fate
    path: str
    text: str


@dataclass(slots=True, kw_only=True)
class Draft:
    """One agent in the making: `spec` in YAML names. `live`: it is made of objects that a cluster has."""

    name: AgentName
    live: bool
    labels: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    replicas: int = 1
    """How many run, for where an autoscaler turns out to be none that an agent can say."""
    model_secret: dict[str, str] | None = None
    """The Secret that a model's key is taken from, where the environment says it."""

    def left(self, path: str, text: str) -> None:
        """Say that something is not in the file."""
        self._note(Fate.LEFT_OUT, path, text)

    def changes(self, path: str, text: str) -> None:
        """Say that an adoption changes something."""
        self._note(Fate.CHANGES, path, text)

    def to_do(self, path: str, text: str) -> None:
        """Say that something is to be done by hand."""
        self._note(Fate.TO_DO, path, text)

    def say(self, **fields: Any) -> None:
        """Set fields that hold something."""
        self.spec.update({name: value for name, value in fields.items() if value not in (None, "", [], {}, ())})

    def _note(self, fate: Fate, path: str, text: str) -> None:
        note = Note(fate=fate, path=path, text=text)
        if note not in self.notes:
            self.notes.append(note)
