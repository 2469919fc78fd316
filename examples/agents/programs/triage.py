"""Sorts tickets: the queue whose words occur most, and an urgency."""

from __future__ import annotations

from a2a import Config, serve
from words import words


def answer(text: str, config: Config) -> str:
    present = words(text)
    queues: dict[str, list[str]] = config.get("queues", {})
    scores = {queue: sum(present.count(word) for word in known) for queue, known in queues.items()}
    best = max(sorted(scores), key=scores.__getitem__, default="general")
    queue = best if scores.get(best) else "general"
    urgent = text.count("!") > 1 or any(word in present for word in config.get("urgent", []))
    return f"queue: {queue}, urgency: {'high' if urgent else 'normal'}"


if __name__ == "__main__":
    serve(answer)
