"""Answers questions from the facts in its config."""

from __future__ import annotations

from a2a import Config, serve
from words import best_match


def answer(text: str, config: Config) -> str:
    return best_match(text, config.get("facts", {})) or "I do not know that. A person will look at it."


if __name__ == "__main__":
    serve(answer)
