"""Keeps notes in memory, and finds them by their words."""

from __future__ import annotations

import threading

from a2a import Config, serve
from words import words

KEPT: list[str] = []
LOCK = threading.Lock()


def answer(text: str, config: Config) -> str:
    verb, _, rest = text.partition(":")
    with LOCK:
        if verb.strip() == "note" and rest.strip():
            KEPT.append(rest.strip())
            del KEPT[: max(0, len(KEPT) - int(config.get("most", 1000)))]
            return f"kept, {len(KEPT)} in all"
        if verb.strip() == "find":
            wanted = set(words(rest))
            found = [note for note in KEPT if wanted <= set(words(note))]
            return "\n".join(found) or "nothing found"
    return "say `note: something to keep` or `find: words`"


if __name__ == "__main__":
    serve(answer)
