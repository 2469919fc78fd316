"""Drafts a reply that takes up what a ticket says."""

from __future__ import annotations

from a2a import Config, serve
from words import sentences, telling


def answer(text: str, config: Config) -> str:
    about = [word for word, _ in telling(text).most_common(3)]
    asked = [sentence for sentence in sentences(text) if sentence.endswith("?")]
    lines = [
        "Thank you for writing to us.",
        f"We understand that this is about {', '.join(about)}." if about else "",
        f"You asked: {asked[0]}" if asked else "",
        "We look into it and come back to you today.",
    ]
    kept = [line for line in lines if line][: int(config.get("maxSentences", 4))]
    return "\n".join([*kept, "", str(config.get("signature", ""))]).strip()


if __name__ == "__main__":
    serve(answer)
