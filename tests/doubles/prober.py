"""A prober that answers from a table, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.model.health import ProbeRequest, Sample


class TableProber:
    """Implements ports.Prober: `answer` gives the problem of a request, "" for well."""

    def __init__(self, answer: Callable[[ProbeRequest], str] = lambda _request: "") -> None:
        self.answer = answer
        self.asked: list[ProbeRequest] = []

    async def probe(self, request: ProbeRequest) -> Sample:
        self.asked.append(request)
        problem = self.answer(request)
        return Sample(ok=not problem, at_ms=0, latency_ms=3.0, problem=problem)

    async def close(self) -> None:
        return None
