"""The patterns of `like`, read once for all who translate them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Literal


class Wild(Enum):
    ANY_TEXT = "%"
    ONE_CHARACTER = "_"


def like_parts(pattern: str) -> Iterator[str | Literal[Wild.ANY_TEXT, Wild.ONE_CHARACTER]]:
    """A pattern, character by character, with what is escaped as it is."""
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            yield next(characters, "\\")
        elif character in "%_":
            yield Wild(character)
        else:
            yield character


def is_whole(pattern: str) -> bool:
    """Whether it does not end in a backslash that escapes nothing."""
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 0
