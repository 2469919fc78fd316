"""What a query of Prometheus asks for, read just so far: metrics, the labels that it selects by, and those that it
groups by. No evaluation, and no judgement of a query's syntax beyond its brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")|(?P<duration>\[[0-9a-z:]+\])|(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)"""
    r"""|(?P<number>[0-9.]+)|(?P<sign>[(){},]|[=!]~|[!=<>]=|[-+*/%^=<>])|(?P<space>\s+)""",
    re.VERBOSE,
)
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = GROUPING | {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass(slots=True)
class Asked:
    """Of one query: (metric, label, operator, value) of each matcher, metrics, and labels that are grouped by."""

    metrics: list[str] = field(default_factory=list)
    matchers: list[tuple[str, str, str, str]] = field(default_factory=list)
    grouped: list[str] = field(default_factory=list)


def tokens(query: str) -> Iterator[str]:
    """The words and signs of a query. Raises ValueError for anything else."""
    at = 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None:
            raise ValueError(f"{query[at : at + 20]!r} is nothing of a query: {query}")
        if match.lastgroup != "space":
            yield match.group()
        at = match.end()


def asked(query: str) -> Asked:
    """What a query asks for. Raises ValueError for one that is misshapen."""
    found, parts = Asked(), list(tokens(query))
    if parts.count("(") != parts.count(")") or parts.count("{") != parts.count("}"):
        raise ValueError(f"its brackets do not close: {query}")
    at = 0
    while at < len(parts):
        part, following = parts[at], parts[at + 1] if at + 1 < len(parts) else ""
        if part in GROUPING and following == "(":
            end = parts.index(")", at)
            found.grouped += [one for one in parts[at + 2 : end] if one != ","]
            at = end
        elif re.match(r"[A-Za-z_:]", part) and following not in {"(", "by", "without"} and part.lower() not in WORDS:
            found.metrics.append(part)
            if following == "{":
                end = parts.index("}", at)
                inside = [one for one in parts[at + 2 : end] if one != ","]
                if len(inside) % 3:
                    raise ValueError(f"matchers of {part} are misshapen: {query}")
                for index in range(0, len(inside), 3):
                    label, operator, value = inside[index : index + 3]
                    found.matchers.append((part, label, operator, value[1:-1]))
                at = end
        at += 1
    return found
