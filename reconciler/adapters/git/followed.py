"""What whoever mirrors a repository leaves beside the mirror, so that others can read it: what it is a mirror of.

May live here: that note. Must not: talk to the remote.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from reconciler.model.errors import SourceError

NOTE = "followed.json"
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A repository that is mirrored: its address without credentials, the branch ("" for the default one), and the
    fleet's folder in it ("" for its root).
    """

    url: str
    branch: str
    fleet_dir: str


def remember(mirror: Path, followed: Followed) -> None:
    """Leave the note in the mirror's folder. Raises SourceError where it cannot be written."""
    try:
        mirror.mkdir(mode=0o700, exist_ok=True)
        fresh = mirror / f".{NOTE}.{os.getpid()}"
        fresh.write_text(json.dumps(asdict(followed)))
        fresh.replace(mirror / NOTE)
    except OSError as error:
        raise SourceError(
            f"{mirror} cannot be used for a mirror: {error.strerror or error}", hint="see that it can be written"
        ) from error


def recall(mirror: Path) -> Followed | None:
    """The note of a mirror's folder; None where there is none. Raises SourceError for one that says nothing."""
    path = mirror / NOTE
    try:
        with path.open("rb") as stream:
            said = json.loads(stream.read(MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}", hint="look at it as the user that the daemon runs as"
        ) from error
    except ValueError as error:
        raise _unreadable(path) from error
    fields = Followed.__dataclass_fields__
    if not isinstance(said, Mapping) or not all(isinstance(said.get(name), str) for name in fields):
        raise _unreadable(path)
    return Followed(**{name: said[name] for name in fields})


def _unreadable(path: Path) -> SourceError:
    return SourceError(
        f"{path} does not say what is mirrored", hint="start the daemon that follows the repository again: it says so"
    )
