"""Explains the terms in its config that a message mentions."""

from __future__ import annotations

from a2a import Config, serve
from words import words


def answer(text: str, config: Config) -> str:
    present = set(words(text))
    found = [f"{term}: {meaning}" for term, meaning in sorted(config.get("terms", {}).items()) if term in present]
    return "\n".join(found) or "I know none of these words."


if __name__ == "__main__":
    serve(answer)
