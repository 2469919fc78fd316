"""Health: what was measured of an agent, and what follows from it. Values only; health.assess judges.

What a sweep makes anew of every agent are structs of msgspec, which are made in a tenth of the time that a frozen
dataclass takes (`benchmarks/sweepparts.py`), and that the garbage collector passes over, for values make no cycles. In
all else they are the same: frozen, compared by value, hashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from reconciler.model.agent import Dimension
from reconciler.model.identity import AgentName
from reconciler.model.source import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """GET `scheme`://`host`:`port``path`; well is a status from 200 to 399 (a redirect is an answer, not followed)."""

    host: str
    port: int
    path: str = "/"
    scheme: str = "http"
    timeout_ms: int = 2000
    """For the whole of it: name, connection, headers and body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe:
    """Connect to `host`:`port`, and hang up."""

    host: str
    port: int
    timeout_ms: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcProbe:
    """Call grpc.health.v1.Health/Check without TLS; well is SERVING. `service` "" asks of the whole server."""

    host: str
    port: int
    service: str = ""
    timeout_ms: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class CardProbe:
    """Fetch the A2A agent card at /.well-known/agent-card.json; well is 200 with a JSON object."""

    host: str
    port: int
    scheme: str = "http"
    timeout_ms: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one pod can be reached: `ports` by the name that the agent gave them, as they really are on `host`."""

    pod: str
    host: str
    ports: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginProbe:
    """Have a plugin look at an agent, all of its pods that can be reached at once."""

    plugin: str
    agent: AgentName
    endpoints: tuple[Endpoint, ...]
    config: JsonObject = field(default_factory=dict)
    timeout_ms: int = 5000


ProbeRequest = HttpProbe | TcpProbe | GrpcProbe | CardProbe | PluginProbe


class Sample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One measurement. `problem` says for people what went wrong, "" when `ok`. `pod` is whose endpoint it was."""

    ok: bool
    at_ms: int
    latency_ms: float
    status: int = 0
    """HTTP status; 0 where there was none."""
    problem: str = ""
    refused: bool = False
    """The probe was not made: its target is one that no probe may reach. Says nothing of the agent."""
    card: JsonObject | None = None
    pod: str = ""


class PodResources(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one pod uses, and its bounds (limit, else request; None: no bound). cpu in cores, memory in bytes."""

    pod: str
    cpu: float
    memory: int
    cpu_bound: float | None = None
    memory_bound: int | None = None


class PodFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What clusters say of an agent's pods. `problems` are for people, e.g. `triage-1: CrashLoopBackOff`."""

    wanted: int
    ready: int
    restarts: int = 0
    """Sum over the pods that are there."""
    problems: tuple[str, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that one sweep learned of one agent. What could not be read is None or missing, which is never "bad".

    `samples` by check name, one a pod. `dependencies`: those of depends_on and whether each is well (None: unknown).
    `card` is the card that the agent is declared to serve.
    """

    samples: Mapping[str, tuple[Sample, ...]] = {}
    resources: tuple[PodResources, ...] | None = None
    pods: PodFacts | None = None
    dependencies: Mapping[AgentName, bool | None] = {}
    in_doubt: frozenset[AgentName] = frozenset()
    """Of `dependencies`, those that fail right now, also where that has not lasted long enough to call them unwell."""
    card: JsonObject | None = None


class HealthState(StrEnum):
    """Of a check, a dimension or an agent. `unknown`: not measured yet, or not measurable now."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class CheckState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One check after hysteresis: `state` follows the last measurement only after enough of them agree.

    `failures` and `successes` count the latest run of equal measurements. `latencies` (ms) and `outcomes` are a
    bounded window, oldest first, that percentiles and error rates are taken from. `text` says what was seen last.
    """

    name: str
    dimension: Dimension
    state: HealthState
    text: str
    critical: bool = True
    failures: int = 0
    successes: int = 0
    since_ms: int = 0
    """When `state` was entered."""
    well_ms: int = 0
    """When a measurement last succeeded; 0: never."""
    latencies: tuple[float, ...] = ()
    outcomes: tuple[bool, ...] = ()
    restarts: int | None = None
    """Lifecycle only: what the counter stood at."""
    pods: tuple[str, ...] = ()
    """The pods that failed the last measurement, where it tells pods apart."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Health of one agent. The three facts are apart: none follows from another.

    `is_healthy`: something was measured, and no critical check has failed long enough. `requires_recovery`: a critical
    check of something of its own has, at this sweep too, and no dependency is to blame or in doubt. `critical`: nothing
    of it serves.
    `checks` in the declared order.
    """

    agent: AgentName
    at_ms: int
    state: HealthState
    is_healthy: bool
    requires_recovery: bool
    critical: bool
    checks: tuple[CheckState, ...]
    upstream: tuple[AgentName, ...] = ()
    """Dependencies that are unwell, sorted: where the cause lies, when there are any."""
    flapping: bool = False
    """It changes its state so often that each change says little: who acts on one does well to wait."""
    turns: int = 0
    """What health.flapping remembers."""
    measured: bool = True
    """Whether anything was measured at this sweep; else all of it is as it was before."""
    latencies_ms: tuple[float, ...] = ()
    """How long what answered at this sweep took: calls of performance checks, or else of connectivity checks."""

    @property
    def recalled(self) -> bool:
        """Whether this is what was on record, and nothing was measured since."""
        return not (self.measured or any(check.failures or check.successes for check in self.checks))

    def dimension(self, dimension: Dimension) -> HealthState | None:
        """The worst state of the checks of `dimension`; None when there is none."""
        states = [check.state for check in self.checks if check.dimension is dimension]
        return max(states, key=_BADNESS.__getitem__) if states else None


_BADNESS = {HealthState.HEALTHY: 0, HealthState.UNKNOWN: 1, HealthState.DEGRADED: 2, HealthState.UNHEALTHY: 3}
