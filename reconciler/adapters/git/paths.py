"""Paths of a repository as text: which ones count, and how hostile names are written. Pure."""

from __future__ import annotations

import re

from reconciler.adapters.git.command import Limits
from reconciler.model.errors import SourceError

LINK = "120000"
REGULAR = "100644"
FILES = frozenset({REGULAR, "100755", "100664"})
SUFFIXES = (b".yaml", b".yml")
IGNORED = (b".git", b".reconciler")
MAX_PATH = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def counts(path: bytes, mode: str) -> bool:
    """Whether a file can be part of a fleet: YAML by its name, or a link (never followed, but worth a finding)."""
    if any(part in IGNORED for part in path.split(b"/")):
        return False
    return mode == LINK or (mode in FILES and path.endswith(SUFFIXES))


def text_of(path: bytes, limits: Limits) -> str:
    """A path as text that can be printed: bytes that are no UTF-8, and control characters, become escapes.

    Raises SourceError for a path that no file system gives (`..`, empty parts), or one too long or too deep.
    """
    text = _CONTROL.sub(_escape, path.decode("utf-8", "backslashreplace"))
    parts = path.split(b"/")
    if any(part in (b"", b".", b"..") for part in parts):
        raise SourceError(
            f"the repository holds the path {text[:200]!r}, which is made to lead elsewhere",
            hint="somebody wrote this tree by hand; do not use this commit",
        )
    if len(path) > MAX_PATH or len(parts) > limits.depth:
        raise SourceError(
            f"the path {text[:80]}... is too long or too deep: {MAX_PATH} bytes and {limits.depth} parts are allowed",
            hint="move the file nearer to fleet.yaml",
        )
    return text


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
