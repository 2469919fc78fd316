"""Orders jobs so that each comes after what it needs."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from a2a import Config, serve


def answer(text: str, _: Config) -> str:
    graph: dict[str, list[str]] = {}
    for line in text.splitlines():
        job, _colon, needs = line.partition(":")
        if job.strip():
            graph[job.strip()] = sorted(need.strip() for need in needs.split(",") if need.strip())
    try:
        return " -> ".join(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ValueError(f"these wait for each other: {', '.join(error.args[1])}") from None


if __name__ == "__main__":
    serve(answer)
