"""Paths of fields as people write them."""

from __future__ import annotations

import re

from reconciler.cli.output import one_line
from reconciler.model.errors import UsageError
from reconciler.model.identity import FieldPath

MAX_PATH = 500
_PART = re.compile(r'\.?(?P<key>[^.\[\]"]+)|\[(?P<item>[^\[\]"]+)\]|\["(?P<quoted>[^"]*)"\]')


def parse_path(text: str) -> FieldPath:
    """Read `a.b[c]["d.e"]`. Raises UsageError."""
    parts = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or len(text) > MAX_PATH:
            raise UsageError(
                f"'{one_line(text, 80)}' is not a path of a field",
                hint="like resources.limits.memory or env[LOG].value",
            )
        parts.append(f"[{match['item']}]" if match["item"] else match["quoted"] or match["key"] or "")
        at = match.end()
    return tuple(parts)
