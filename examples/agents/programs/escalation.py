"""Finds the highest step of its ladder that a ticket reaches."""

from __future__ import annotations

from a2a import Config, serve


def answer(text: str, config: Config) -> str:
    lower = text.lower()
    for step in sorted(config.get("ladder", []), key=lambda step: step["severity"]):
        found = [word for word in step["words"] if word in lower]
        if found:
            return f"severity {step['severity']}: tell the {step['tell']} within {step['within']} ({', '.join(found)})"
    return "no escalation needed"


if __name__ == "__main__":
    serve(answer)
