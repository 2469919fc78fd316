"""Full text: which words a text is made of. One function for records and queries, so that both agree."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

MAX_TOKEN = 64
"""Characters; longer words are told apart by so many of their first."""
MAX_TOKENS = 20_000
"""Different words of one record: those that come first."""

_WORD = re.compile(r"[^\W_]+")


def tokens(text: str) -> Iterator[str]:
    """The words of a text, in their order: runs of letters and digits, without regard to case."""
    folded = unicodedata.normalize("NFC", text).casefold()
    for match in _WORD.finditer(folded):
        yield match.group()[:MAX_TOKEN]


def words_of(document: Mapping[str, Any]) -> frozenset[str]:
    """The words that a record is found by: those of its description, system message, tools and skills."""
    found: dict[str, None] = {}
    for text in _texts(document):
        for token in islice(tokens(text), MAX_TOKENS):
            found[token] = None
            if len(found) >= MAX_TOKENS:
                return frozenset(found)
    return frozenset(found)


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    stack: list[Any] = [document.get(key) for key in ("skills", "tools", "systemMessage", "description")]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            stack.extend(_reversed(value.values()))
        elif isinstance(value, list | tuple):
            stack.extend(_reversed(value))


def _reversed(values: Iterable[Any]) -> list[Any]:
    return list(values)[::-1]
