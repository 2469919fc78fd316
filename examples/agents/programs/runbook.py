"""Gives the steps of the runbook that fits an incident."""

from __future__ import annotations

from a2a import Config, serve
from words import best_match


def answer(text: str, config: Config) -> str:
    books = {
        name: "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
        for name, steps in config.get("runbooks", {}).items()
    }
    return best_match(text, books) or "There is no runbook for that. Call the engineer on duty."


if __name__ == "__main__":
    serve(answer)
