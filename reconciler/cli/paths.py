"""Paths of fields as people write them."""

from __future__ import annotations

import re

from reconciler.cli.output import one_line
from reconciler.model.errors import UsageError
from reconciler.model.identity import FieldPath

MAX_PATH = 500
_PART = re.compile(r'\.?(?P<key>[^.\[\]"]+)|\[(?P<item>[^\[\]"]+)\]|\["(?P<quoted>(?:[^"\\]|\\.)*)"\]', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def parse_path(text: str, most: int = MAX_PATH) -> FieldPath:
    """Read `a.b[c]["d.e"]`, of at most `most` characters. Raises UsageError."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or len(text) > most:
            raise UsageError(
                f"'{one_line(text, 80)}' is not a path of a field",
                hint="like resources.limits.memory or env[LOG].value",
            )
        item, quoted = match["item"], match["quoted"]
        parts.append(f"[{item}]" if item else match["key"] or _ESCAPE.sub(r"\1", quoted))
        at = match.end()
    return tuple(parts)
