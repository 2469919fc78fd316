"""Counts log lines by level and component."""

from __future__ import annotations

import os
import re
from collections import Counter

from a2a import Config, serve

LINE = re.compile(r"\b(DEBUG|INFO|WARN|ERROR|FATAL)\b\s+\[?([\w.-]+)\]?")


def answer(text: str, _: Config) -> str:
    wanted = os.environ.get("LEVELS", "ERROR").split(",")
    counted = Counter(match.groups() for match in LINE.finditer(text) if match.group(1) in wanted)
    rows = sorted(counted.items(), key=lambda item: (wanted.index(item[0][0]), -item[1], item[0][1]))
    return "\n".join(f"{level} {component}: {count}" for (level, component), count in rows) or "no complaints"


if __name__ == "__main__":
    serve(answer)
