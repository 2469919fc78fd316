"""Names the most frequent telling words of a text."""

from __future__ import annotations

import argparse

from a2a import Config, serve
from words import telling

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--count", type=int, default=5)


def answer(text: str, _: Config) -> str:
    counted = telling(text)
    ordered = sorted(counted, key=lambda word: (-counted[word], word))
    return ", ".join(ordered[: PARSER.parse_args().count])


if __name__ == "__main__":
    serve(answer)
