"""What the programs share about words and sentences."""

from __future__ import annotations

import re
from collections import Counter

COMMON_WORDS = (
    "a about all also an and are as at be been but by can do for from had has have how i if in into is it its my no "
    "not of on one or our so that the their them then there they this to was we were what when which who will with "
    "you your"
)
COMMON = frozenset(COMMON_WORDS.split())


def words(text: str) -> list[str]:
    return re.findall(r"[a-z][a-z'-]*[a-z]|[a-z]", text.lower())


def telling(text: str) -> Counter[str]:
    """How often each word occurs that is not one of the common ones."""
    return Counter(word for word in words(text) if word not in COMMON and len(word) > 2)


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part.strip()]


def best_match(text: str, choices: dict[str, str]) -> str | None:
    """The value whose key has most of its words in `text`; None where none has any."""
    present = set(words(text))
    scored = [(len(present & set(words(key))) / max(1, len(words(key))), value) for key, value in choices.items()]
    score, value = max(scored, default=(0.0, ""), key=lambda pair: pair[0])
    return value if score > 0 else None
