"""What the engine works on: ports, joined by whoever starts it. Values and protocols only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from reconciler.model.fleet import FleetSpec
from reconciler.model.objects import Unreadable
from reconciler.ports import Clock, Cluster, Registry, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a cluster is waited for, in seconds.

    `connect_s`: to say who it is, which is the first question of every look, and the one that is asked again while a
    longer answer is outstanding: so much a cluster that hangs costs the others, twice at most. `read_s`: for a whole
    list, `call_s`: for one object, both only while it says who it is.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    call_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where a fleet lives. A cluster that cannot even be opened is Unreadable: the others go on."""

    registry: Registry
    clusters: Mapping[str, Cluster | Unreadable]
    patience: Patience = Patience()


class World(Protocol):
    """Everything outside of the engine. Stores are opened when a fleet's declaration has said which they are."""

    @property
    def source(self) -> Source: ...

    @property
    def clock(self) -> Clock: ...

    async def stores(self, fleet: FleetSpec) -> Stores:
        """Open the registry and the clusters that `fleet` names; the same ones each time.

        Raises ReconcilerError when the registry cannot be opened; a cluster that cannot is Unreadable in the answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How calls are tried again: at most `attempts`, full jitter up to `first_s` doubled each time, at most `most_s`.

    `jitter` gives numbers from 0 to 1. Source of the formula: "Exponential Backoff And Jitter", AWS Architecture Blog.
    """

    jitter: Callable[[], float] = lambda: 1.0
    attempts: int = 5
    first_s: float = 0.1
    most_s: float = 5.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number `attempt`, which counts from 0."""
        return self.jitter() * min(self.most_s, self.first_s * float(2 ** min(attempt, 30)))
