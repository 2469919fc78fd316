"""The nearest known name, for "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_COMPARED = 2_000


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely stands for, or None. Ties go to the first in sorted order."""
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
