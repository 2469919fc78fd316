"""Records and queries by chance, out of a small vocabulary: so that they meet, and so that what is odd comes often.

For every back end: `fleets` are live records, `queries` ask about paths and values that these have, or nearly have.
`life` says by which writes a record comes to be in a registry as it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.model.identity import AgentName
from reconciler.model.query import (
    And,
    Comparator,
    Compare,
    Contains,
    Exists,
    Expression,
    Like,
    Not,
    OneOf,
    Or,
    Order,
    Query,
    Value,
    Words,
)
from reconciler.model.registry import (
    TRANSITIONS,
    AgentState,
    Good,
    PlacedReplicas,
    Quarantine,
    Record,
    ScaleOverride,
)
from reconciler.model.units import Duration, Quantity

TEXTS = (
    "", "a", "b", "ab", "A", "B", "aa", "a b", "10", "9", "true", "é", "e\u0301", "ß", "ss", "\u0130", "\uffee",
    "\U0001f600", "%", "_", "a%", "a_b", "\\", "\\%", "*", "?", "[a]", "]", "^", "'", "''", '"', "a'b", "--", ";",
    "a\nb", "\u2028", "x" * 256, "x" * 300, "x" * 299 + "y", "ghcr.io/acme/x:1", "NEAR", "a AND b", "\u0000",
)  # fmt: skip
"""What facts hold; the last one is replaced in facts, and no query can ask for it."""
ASKED = (*TEXTS[:-1], "c", "\ufffd", "support")
NUMBERS = (0, -0.0, 1, 2, 3, 10, -1, 0.5, 0.1, 1e300, -1e300, 5e-324, 2**53, 2**53 + 1, 2**53 + 2, 2**62)
WORDS = ("refund", "billing", "bill", "STRASSE", "straße", "e\u0301tat", "état", "42", "a", "near", "or", "x" * 70)
KEYS = ("team", "tier", "app.kubernetes.io/name", "team.x", 'quo"ted', "", "NAME")
NAMES = ("a", "b", "ab", "a-b", "a0", "z")
STATES = tuple(state for state in AgentState if state is not AgentState.GONE)
QUANTITIES = ("500m", "1", "256Mi", "0.25Gi", "1e3", "64Mi", "10")
DURATIONS = ("30s", "1m", "60s", "500ms", "1h30m")
TIMES = (0, 1, 999, 1000, 1_700_000_000_000, 1_700_000_000_001)

texts = st.sampled_from(TEXTS)
leaves = texts | st.booleans() | st.sampled_from(NUMBERS) | st.none()
config = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "b", "a.b", "")), inner, max_size=3)
    ),
    max_leaves=6,
)
prose = st.lists(st.sampled_from((*WORDS, "-", "!", "refund,")), max_size=4).map(" ".join)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A resolved spec, or something like it."""
    found: dict[str, Any] = {"image": draw(texts), "config": draw(st.dictionaries(st.sampled_from("ab"), config))}
    if draw(st.booleans()):
        amounts = st.dictionaries(st.sampled_from(("cpu", "memory", "nvidia.com/gpu")), st.sampled_from(QUANTITIES))
        found["resources"] = {"limits": draw(amounts), "requests": draw(amounts)}
    if draw(st.booleans()):
        found["description"], found["systemMessage"] = draw(prose), draw(prose)
    if draw(st.booleans()):
        found["tools"] = [
            {"mcpServer": {"name": name, "toolNames": [draw(texts)]}}
            for name in draw(st.lists(st.sampled_from(NAMES), max_size=3))
        ]
    if draw(st.booleans()):
        found["health"] = {"interval": draw(st.sampled_from(DURATIONS)), "checks": []}
        found["ports"] = [{"name": "http", "port": draw(st.sampled_from((80, 8080)))}]
    if draw(st.booleans()):
        found["rollout"] = {"maxSurge": draw(st.sampled_from((1, 2, "25%")))}
        found["autoscaling"] = {"metrics": [{"cpu": {"utilization": "70%"}}, {"memory": {"average": "64Mi"}}]}
    return found


@st.composite
def records(draw: st.DrawFn, name: AgentName) -> Record:
    """A live record of that name, as it is after its first write or later ones."""
    document = draw(documents())
    good = st.none() | st.sampled_from(("h1", "h2")).map(
        lambda spec_hash: Good(number=1, commit="c0", spec_hash=spec_hash, document=document, manifests={})
    )
    overrides = st.none() | st.just(ScaleOverride(replicas=6, author="ada", reason="", since_ms=5, until_ms=0))
    return Record(
        id=f"id-{name.namespace}-{name.name}",
        name=name,
        version=1,
        state=draw(st.sampled_from(STATES)),
        labels=draw(st.dictionaries(st.sampled_from(KEYS), texts, max_size=3)),
        document=document,
        spec_hash="h1",
        lineage=tuple(draw(st.lists(st.sampled_from(("base", "service", "a")), max_size=2, unique=True))),
        source_path=f"agents/{name}.yaml",
        commit=draw(st.sampled_from(("", "c1", "c2"))),
        revision=draw(st.integers(0, 4)),
        placement=tuple(
            PlacedReplicas(cluster=cluster, replicas=draw(st.integers(0, 4)))
            for cluster in draw(st.lists(st.sampled_from(("eu-1", "us-1", "local")), max_size=2, unique=True))
        ),
        reservations=(),
        inventory=(),
        protect=draw(st.booleans()),
        suspended=draw(st.booleans()),
        quarantine=draw(st.none() | st.just(Quarantine(spec_hash="h0", since_ms=1000, reason="did not start"))),
        override=draw(overrides),
        good=draw(good),
        created_ms=draw(st.sampled_from(TIMES)),
        updated_ms=draw(st.sampled_from(TIMES)),
        last_seen_ms=draw(st.sampled_from(TIMES)),
        message=draw(texts),
        behind=tuple(draw(st.lists(st.sampled_from(("eu-1", "us-1")), max_size=1))),
        home=draw(st.sampled_from(("", "eu-1"))),
    )


@st.composite
def fleets(draw: st.DrawFn, max_size: int = 12) -> tuple[Record, ...]:
    """Live records, each with a name of its own, in no order."""
    pairs = st.tuples(st.sampled_from(NAMES[:3]), st.sampled_from(NAMES))
    chosen = draw(st.lists(pairs, max_size=max_size, unique=True))
    return tuple(draw(records(AgentName(namespace=namespace, name=name))) for namespace, name in chosen)


TEXT_PATHS = (
    "namespace", "name", "id", "state", "cluster", "template", "commit", "source", "message", "home", "behind",
    "labels.team", "labels.tier", 'labels."app.kubernetes.io/name"', 'labels."team.x"', "labels.NAME", "spec.image",
    "spec.tools.mcpServer.name", "spec.tools.mcpServer.toolNames", "health.quarantine.reason", "override.author",
)  # fmt: skip
TIME_PATHS = ("created", "updated", "lastSeen", "health.quarantine.since", "override.since", "override.until")
QUANTITY_PATHS = (
    "spec.resources.limits.cpu", "spec.resources.limits.memory", "spec.resources.requests.memory",
    'spec.resources.limits."nvidia.com/gpu"', "spec.autoscaling.metrics.memory.average",
)  # fmt: skip
DURATION_PATHS = ("spec.health.interval",)
PERCENT_PATHS = ("spec.autoscaling.metrics.cpu.utilization",)
NUMBER_PATHS = ("replicas", "revision", "spec.ports.port", "override.replicas")
FLAG_PATHS = ("suspended", "protect")
MIXED_PATHS = (
    "spec.config.a", "spec.config.b", "spec.config.a.b", 'spec.config.a."a.b"', "spec.config.b.a", 'spec.config.a.""',
    "spec.rollout.maxSurge",
)  # fmt: skip
PATHS = (
    *TEXT_PATHS, *TIME_PATHS, *QUANTITY_PATHS, *DURATION_PATHS, *PERCENT_PATHS, *NUMBER_PATHS, *FLAG_PATHS, *MIXED_PATHS
)  # fmt: skip
PREFIXES = ("labels", "spec", "spec.config", "spec.tools", "spec.resources", "health", "override", "spec.config.a")

_asked_numbers = st.sampled_from((*map(float, NUMBERS), 80.0, 8080.0, 1000.0)).map(lambda value: value + 0.0)
_asked_texts = st.sampled_from((*ASKED, *NAMES, *(str(state) for state in STATES), "base", "eu-1", "c1", "25%"))
_mixed: st.SearchStrategy[Value] = _asked_texts | st.booleans() | _asked_numbers
_VALUES: dict[tuple[str, ...], st.SearchStrategy[Value]] = {
    ("state",): st.sampled_from(STATES).map(str),
    TEXT_PATHS: _asked_texts,
    TIME_PATHS: st.sampled_from((*TIMES, 5)).map(float),
    QUANTITY_PATHS: st.sampled_from(QUANTITIES).map(lambda text: float(Quantity.parse(text).value)),
    DURATION_PATHS: st.sampled_from(DURATIONS).map(lambda text: float(Duration.parse(text).ms)),
    PERCENT_PATHS: st.sampled_from((0.0, 70.0, 100.0)),
    NUMBER_PATHS: _asked_numbers,
    FLAG_PATHS: st.booleans(),
    MIXED_PATHS: _mixed,
}


def values_for(path: str) -> st.SearchStrategy[Value]:
    """Values of the kind that the language compares that path to."""
    return next(values for some, values in _VALUES.items() if path in some)


_piece = st.sampled_from(("%", "_", "\\%", "\\_", "\\\\", "a", "b", "x", "*", "?", "[a]", "é", "'", "1", "ghcr"))
patterns = st.lists(_piece, max_size=5).map("".join)
_tokens = st.sampled_from(
    ("refund", "billing", "bill", "strasse", "état", "42", "a", "near", "or", "and", "x" * 64, "q")
)


@st.composite
def atoms(draw: st.DrawFn) -> Expression:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return Exists(draw(st.sampled_from(PATHS + PREFIXES)))
    if kind == 1:
        words = draw(st.lists(_tokens, max_size=2, unique=True))
        prefixes = draw(st.lists(st.sampled_from(("b", "bil", "refund", "é", "4", "x" * 64)), max_size=2, unique=True))
        return Words(tuple(words), tuple(prefixes)) if words or prefixes else Words(("refund",))
    if kind == 2:
        return Like(draw(st.sampled_from(TEXT_PATHS + MIXED_PATHS)), draw(patterns))
    path = draw(st.sampled_from(PATHS))
    if kind == 3:
        return Contains(path, draw(values_for(path)))
    if kind == 4:
        values = draw(st.lists(values_for(path), min_size=1, max_size=4))
        return OneOf(path, tuple({(type(value), value): value for value in values}.values()))
    return Compare(path, draw(st.sampled_from(Comparator)), draw(values_for(path)))


expressions: st.SearchStrategy[Expression] = st.recursive(
    atoms(),
    lambda inner: (
        inner.map(Not)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts)))
    ),
    max_leaves=6,
)
orders = st.lists(st.builds(Order, st.sampled_from(PATHS), st.booleans()), max_size=2).map(tuple)
queries = st.builds(Query, st.just(And()) | expressions | expressions | expressions, orders)


def life(record: Record) -> tuple[Record, ...]:
    """The writes that bring a record to where it is, from registered on: the last one is the record as it then is."""
    states = _way(record.state)
    return tuple(replace(record, version=number, state=state) for number, state in enumerate(states, start=1))


def _way(goal: AgentState) -> tuple[AgentState, ...]:
    waiting: deque[tuple[AgentState, ...]] = deque([(AgentState.REGISTERED,)])
    while waiting:
        way = waiting.popleft()
        if way[-1] is goal:
            return way
        waiting.extend((*way, after) for after in sorted(TRANSITIONS[way[-1]]) if after not in way)
    raise AssertionError(goal)
