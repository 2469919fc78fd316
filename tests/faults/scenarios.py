"""What the fault harness plays: a fleet that stands, and a commit that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.never_ready import NEVER_READY

FLEET = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec: {clusters: [{name: local, embedded: {run: nothing}}]}
"""


def agent(name: str, *, tag: str = "1", replicas: int = 2, after: str = "") -> str:
    depends = f"  dependsOn: [support/{after}]\n" if after else ""
    return (
        "apiVersion: agents.codevald.io/v1\nkind: Agent\n"
        f"metadata: {{name: {name}, namespace: support}}\n"
        f"spec:\n  description: {name}\n  image: acme/{name}:{tag}\n  replicas: {replicas}\n"
        f"  ports: [{{name: http, port: 8080}}]\n{depends}"
    )


def autoscaled(name: str, least: int) -> str:
    bounds = f"  autoscaling: {{min: {least}, max: 9, metrics: [{{memory: {{average: 100Mi}}}}]}}\n"
    return agent(name).replace("  replicas: 2\n", bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Time that passes, clusters that are away at its end, and what is committed then."""

    wait_s: float
    away: tuple[str, ...] = ()
    commit: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`before` is applied without faults; `change` is the commit whose apply is replayed with them.

    `passes` is how many applies it takes where nothing goes wrong. Between the two, chapters of what happened `since`
    then are each followed by an apply; `away` are clusters that cannot be reached during the replay.
    """

    name: str
    before: Mapping[str, str | None]
    change: Mapping[str, str | None] = field(default_factory=dict)
    passes: int = 1
    theirs: tuple[Mapping[str, Any], ...] = ()
    """Objects that somebody else applies before the change."""
    clusters: tuple[str, ...] = ("local",)
    since: tuple[Chapter, ...] = ()
    away: tuple[str, ...] = ()
    wait_s: float = 60.0

    @property
    def lasts_ms(self) -> int:
        """How long after the beginning the replay begins."""
        return round(1000 * (sum(chapter.wait_s for chapter in self.since) + self.wait_s))


TWO = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec: {clusters: [{name: eu-1, embedded: {run: nothing}}, {name: us-1, embedded: {run: nothing}}]}
"""


def placed(name: str, rule: str, *, tag: str = "1") -> str:
    return agent(name, tag=tag) + f"  placement: {{{rule}}}\n"


_FAILOVER = "policy: failover, clusters: {names: [eu-1, us-1]}, failoverAfter: 5m, failbackAfter: 10m"
_HOME = {"fleet.yaml": TWO, "agents/triage.yaml": placed("triage", _FAILOVER)}
_SPREAD = {"fleet.yaml": TWO, "agents/triage.yaml": placed("triage", "policy: spread")}
_AWAY = (Chapter(wait_s=60, away=("eu-1",)), Chapter(wait_s=300, away=("eu-1",)))
_CLUSTERS = ("eu-1", "us-1")

_THEIRS: Mapping[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "triage", "namespace": "support"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"agents.codevald.io/agent": "triage"}},
        "template": {
            "metadata": {"labels": {"agents.codevald.io/agent": "triage"}},
            "spec": {"containers": [{"name": "agent", "image": "acme/old:1"}]},
        },
    },
}
_STANDING = {"fleet.yaml": FLEET, "agents/knowledge.yaml": agent("knowledge")}
_BOTH = _STANDING | {"agents/triage.yaml": agent("triage", after="knowledge")}

SCENARIOS = (
    Scenario(name="create", before=_STANDING, change={"agents/triage.yaml": agent("triage", after="knowledge")}),
    Scenario(
        name="update",
        before=_BOTH,
        change={
            "agents/knowledge.yaml": agent("knowledge", tag="2"),
            "agents/triage.yaml": agent("triage", tag="2", after="knowledge"),
        },
    ),
    Scenario(name="scale", before=_BOTH, change={"agents/triage.yaml": agent("triage", replicas=5, after="knowledge")}),
    Scenario(name="delete", before=_BOTH, change={"agents/triage.yaml": None}),
    Scenario(
        name="rollback",
        before=_BOTH,
        change={"agents/triage.yaml": agent("triage", tag=NEVER_READY, after="knowledge")},
    ),
    Scenario(
        name="undo",
        before=_STANDING,
        change={"agents/triage.yaml": agent("triage", tag=NEVER_READY, after="knowledge")},
    ),
    Scenario(
        name="autoscaling-taken-up",
        before=_STANDING,
        change={
            "agents/knowledge.yaml": autoscaled("knowledge", 1),
            "agents/triage.yaml": autoscaled("triage", 3),
        },
    ),
    Scenario(
        name="autoscaling-given-up",
        before=_STANDING | {"agents/triage.yaml": autoscaled("triage", 4)},
        change={"agents/triage.yaml": agent("triage")},
        passes=2,  # what runs is kept first, and scaled to what is declared by the next plan
    ),
    Scenario(
        name="adopt",
        before=_STANDING,
        change={"agents/triage.yaml": agent("triage") + "  adopt: true\n"},
        theirs=(_THEIRS,),
    ),
    Scenario(
        name="adopt-and-undo",
        before=_STANDING,
        change={"agents/triage.yaml": agent("triage", tag=NEVER_READY) + "  adopt: true\n"},
        theirs=(_THEIRS,),
    ),
    Scenario(
        name="move",
        before={"fleet.yaml": TWO, "agents/triage.yaml": placed("triage", "clusters: {names: [eu-1]}")},
        change={"agents/triage.yaml": placed("triage", "clusters: {names: [us-1]}")},
        clusters=_CLUSTERS,
    ),
    Scenario(name="failover", before=_HOME, clusters=_CLUSTERS, since=_AWAY[:1], away=("eu-1",), wait_s=300),
    Scenario(name="return", before=_HOME, clusters=_CLUSTERS, since=_AWAY),
    Scenario(name="failback", before=_HOME, clusters=_CLUSTERS, since=(*_AWAY, Chapter(wait_s=60)), wait_s=600),
    Scenario(
        name="update with one away",
        before=_SPREAD,
        change={"agents/triage.yaml": placed("triage", "policy: spread", tag="2")},
        clusters=_CLUSTERS,
        away=("eu-1",),
    ),
    Scenario(
        name="catching up",
        before=_SPREAD,
        since=(
            Chapter(
                wait_s=60,
                away=("eu-1",),
                commit={"agents/triage.yaml": placed("triage", "policy: spread", tag="2")},
            ),
        ),
        clusters=_CLUSTERS,
    ),
)
