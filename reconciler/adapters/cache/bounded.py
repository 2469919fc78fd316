"""A mapping that holds so much and no more: what was used longest ago goes first. It counts what it was good for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What a cache was good for: how often it had an answer and had none, and what it lost.

    `dropped` counts what changed underneath, `crowded` what had to make room; `held` is the weight that is in it now.
    """

    hits: int = 0
    misses: int = 0
    dropped: int = 0
    crowded: int = 0
    held: int = 0

    @property
    def rate(self) -> float:
        """Hits of all that was asked; 0 where nothing was."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class Bounded(Generic[K, V]):
    """Values by key, each with a weight, up to `most` in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._held = self._hits = self._misses = self._dropped = self._crowded = 0

    @property
    def uses(self) -> Uses:
        return Uses(hits=self._hits, misses=self._misses, dropped=self._dropped, crowded=self._crowded, held=self._held)

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        if found is None:
            self._misses += 1
            return None
        self._hits += 1
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keep a value. One that is heavier than all there may be is not kept."""
        self._remove(key)
        if weight > self._most:
            return
        self._kept[key] = value, weight
        self._held += weight
        while self._held > self._most:
            _, (_, lighter) = self._kept.popitem(last=False)
            self._held -= lighter
            self._crowded += 1

    def drop(self, key: K) -> None:
        """Forget a value, because it is no longer true."""
        self._dropped += self._remove(key)

    def clear(self) -> None:
        """Forget everything, because it is no longer true."""
        self._dropped += len(self._kept)
        self._kept.clear()
        self._held = 0

    def _remove(self, key: K) -> bool:
        found = self._kept.pop(key, None)
        if found is None:
            return False
        self._held -= found[1]
        return True
