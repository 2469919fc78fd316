"""A registry behind a line that can be cut: every call is counted, and fails while it is away."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reconciler.model.errors import RegistryError
from reconciler.model.objects import Unreadable
from reconciler.ports import Registry

STREAMS = {"changes", "audit"}
OBSERVED = {"get", "snapshot"}


class Far:
    """Stands in for ports.Registry around another one."""

    def __init__(self, inner: Registry) -> None:
        self.inner = inner
        self.away = False
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        target = getattr(self.inner, name)
        if name == "new_id":
            return target

        async def stream(*values: Any, **named: Any) -> Any:
            self._cross(name)
            async for item in target(*values, **named):
                yield item

        async def call(*values: Any, **named: Any) -> Any:
            if name in OBSERVED and self.away:
                self.calls[name] += 1
                return Unreadable(reason="the line is cut")
            self._cross(name)
            return await target(*values, **named)

        return stream if name in STREAMS else call

    def _cross(self, name: str) -> None:
        self.calls[name] += 1
        if self.away and name != "close":
            raise RegistryError("the line is cut", hint="mend it")
