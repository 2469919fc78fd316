"""Keeps the sentences whose words the text uses most, in their order."""

from __future__ import annotations

from a2a import Config, serve
from words import sentences, telling, words


def answer(text: str, config: Config) -> str:
    weights = telling(text)

    def weight(sentence: str) -> float:
        used = words(sentence)
        return sum(weights[word] for word in used) / max(1, len(used))

    parts = sentences(text)
    most = int(config.get("maxSentences", 3))
    kept = set(sorted(range(len(parts)), key=lambda index: (-weight(parts[index]), index))[:most])
    return " ".join(part for index, part in enumerate(parts) if index in kept)


if __name__ == "__main__":
    serve(answer)
