"""The nearest known name, for "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

MAX_COMPARED = 2_000
MAX_HINTS = 20


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely stands for, or None. Ties go to the last in sorted order."""
    names = sorted(known)[:MAX_COMPARED]
    folded = {name.lower(): name for name in reversed(names)}
    if word.lower() in folded:
        return folded[word.lower()]
    close = difflib.get_close_matches(word[:80].lower(), sorted(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint, or "" where nothing is near."""
    name = nearest(word, known)
    return f"did you mean {name!r}?" if name else ""


class Suggestions:
    """Hints against one set of names. Comparing is slow, so only the first MAX_HINTS unknown words are compared.

    `notes` are hints that stand already.
    """

    def __init__(self, known: Iterable[str], notes: Mapping[str, str] | None = None) -> None:
        self._given = known
        self._known: list[str] | None = None
        self._notes = notes or {}
        self._hints: dict[str, str] = {}

    def hint(self, word: str) -> str:
        """As `did_you_mean`."""
        if word in self._notes:
            return self._notes[word]
        if word not in self._hints:
            if len(self._hints) >= MAX_HINTS:
                return ""
            if self._known is None:
                self._known = sorted(self._given)
            self._hints[word] = did_you_mean(word, self._known)
        return self._hints[word]
