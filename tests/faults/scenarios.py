"""What the fault harness plays: a fleet that stands, and a commit that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`before` is applied without faults; `change` is the commit whose apply is replayed with them."""

    name: str
    before: Mapping[str, str | None]
    change: Mapping[str, str | None]


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
)
