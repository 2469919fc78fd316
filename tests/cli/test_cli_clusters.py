"""Two clusters of one fleet as people see them, one of which cannot be read for a while, or is another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Program

FLEET = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: two}
spec:
  clusters:
    - {name: eu-1, embedded: {run: nothing}}
    - {name: us-1, embedded: {run: nothing}}
"""
RUBBISH = b"this is no database" * 1000


def failover(*, leave: str = "1h", back: str = "1h", image: str = "acme/agent:1") -> str:
    return (
        "apiVersion: agents.codevald.io/v1\nkind: Agent\nmetadata: {name: triage}\n"
        f"spec:\n  description: Sorts\n  image: {image}\n  replicas: 3\n  ports: [{{name: http, port: 8080}}]\n"
        "  placement: {policy: failover, clusters: {names: [eu-1, us-1]}, "
        f"failoverAfter: {leave}, failbackAfter: {back}}}\n"
    )


@pytest.fixture
def two(fleet: Program) -> Program:
    """A fleet on two clusters that run nothing, its one agent on the first of them."""
    (fleet.folder / "fleet.yaml").write_text(FLEET)
    (fleet.folder / "agents" / "demo" / "hello.yaml").unlink()
    declare(fleet, failover())
    fleet("apply", "--auto-approve", code=0)
    assert where(fleet) == {"eu-1": 3}
    return fleet


def declare(program: Program, agent: str) -> None:
    """Commit the one agent."""
    path = program.folder / "agents" / "support" / "triage.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(agent)
    program.commit()


def store(program: Program, cluster: str) -> Path:
    return program.folder / ".reconciler" / "clusters" / cluster / "cluster.db"


def spoil(program: Program, cluster: str) -> bytes:
    """Make a cluster's state unreadable, and answer what it was."""
    path = store(program, cluster)
    whole = path.read_bytes()
    path.write_bytes(RUBBISH)
    return whole


def described(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program("describe", "support/triage", "-o", "json", code=0).out)
    return found


def where(program: Program) -> dict[str, int]:
    placement: dict[str, int] = described(program)["placement"]
    return placement


def owned(program: Program) -> set[str]:
    return {item["cluster"] for item in described(program)["objects"]}


def test_an_agent_leaves_a_cluster_that_cannot_be_read_and_comes_back(two: Program) -> None:
    whole = spoil(two, "eu-1")
    told = two("plan", code=1)
    assert "note: support/triage: eu-1 is unwell (" in told.out
    assert "the next `apply` or `health` notes since when, and the failover begins 60m later" in told.out
    assert "No changes." in told.out
    two("apply", "--auto-approve", code=1)
    assert "the failover begins with the first apply after 2" in two("plan", code=1).out
    assert "eu-1   embedded   nothing   unreachable" in two("get", "clusters", code=0).out
    assert "unwell since 2" in two("get", "clusters", "-o", "wide", code=0).out
    assert where(two) == {"eu-1": 3}

    declare(two, failover(leave="0s"))
    done = two("apply", "--auto-approve", code=1)
    assert "# support/triage will be updated in place" in done.out
    assert "eu-1 is unwell (" in done.out
    assert "it fails over to us-1" in done.out
    assert where(two) == {"us-1": 3}
    assert owned(two) == {"eu-1", "us-1"}
    why = two("why", "support/triage", code=0).out
    assert "what may still run on eu-1 is deleted when it can be seen: the cluster eu-1 cannot be read" in why
    assert "away on us-1 while eu-1 is unwell" in why

    store(two, "eu-1").write_bytes(whole)
    done = two("apply", "--auto-approve", code=0)
    assert "eu-1 can be reached again: what was left out there is done" in done.out
    assert (where(two), owned(two)) == ({"us-1": 3}, {"us-1"})
    assert "away on us-1; eu-1 is well since 2" in two("plan", code=0).out

    declare(two, failover(back="0s"))
    two("apply", "--auto-approve", code=0)
    assert (where(two), owned(two)) == ({"eu-1": 3}, {"eu-1"})
    assert "No changes." in two("plan", "--detailed-exitcode", code=0).out
    assert "cluster-unwell" in two("audit", "list", code=0).out
    two("audit", "verify", code=0)


def test_health_notes_a_cluster_that_cannot_be_read(two: Program) -> None:
    spoil(two, "eu-1")
    told = two("health", code=1)
    assert "warning: cluster eu-1 cannot be read" in told.err
    assert "unwell since 2" in two("get", "clusters", "-o", "wide", code=0).out


def test_the_other_cluster_is_done_on_time(two: Program) -> None:
    spread = failover().replace("failover,", "spread,")
    declare(two, spread.replace("replicas: 3", "replicas: 4"))
    two("apply", "--auto-approve", code=0)
    whole = spoil(two, "eu-1")
    declare(two, spread.replace("replicas: 3", "replicas: 4").replace("agent:1", "agent:2"))
    done = two("apply", "--auto-approve", code=1)
    assert "# not on eu-1, which is left for later" in done.out
    assert "Applied 1 change in" in done.out
    assert described(two)["behind"] == ["eu-1"]
    assert "Behind:" in two("describe", "support/triage", code=0).out
    two("apply", "--auto-approve", "--cluster", "us-1", code=0)
    store(two, "eu-1").write_bytes(whole)
    two("apply", "--auto-approve", code=0)
    assert described(two)["behind"] == []


def test_a_rebuilt_cluster_is_refused_until_it_is_accepted(two: Program) -> None:
    for path in store(two, "eu-1").parent.glob("cluster.db*"):
        path.unlink()
    told = two("plan", code=1)
    assert "eu-1 is another cluster than at first contact" in told.out
    assert "accept it with --accept-cluster eu-1" in told.out
    two("apply", "--auto-approve", code=1)
    assert "no cluster eu-9 is declared" in two("plan", "--accept-cluster", "eu-9", code=1).err
    plan = two.folder / "next.plan"
    two("plan", "--accept-cluster", "eu-1", "--out", str(plan), code=0)
    two("apply", str(plan), code=0)
    assert "No changes." in two("plan", "--detailed-exitcode", code=0).out
    assert where(two) == {"eu-1": 3}


def test_a_cluster_that_is_gone_for_good_is_forgotten_by_name(two: Program) -> None:
    assert "cluster eu-1 is declared" in two("plan", "--forget-cluster", "eu-1", code=1).err
    assert "did you mean eu-1?" in two("plan", "--forget-cluster", "eu1", code=1).err
    fleet = two.folder / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("    - {name: eu-1, embedded: {run: nothing}}\n", ""))
    declare(two, failover().replace("[eu-1, us-1]", "[us-1]"))
    assert "--forget-cluster eu-1" in two("plan", code=0).out
    two("apply", "--auto-approve", code=1)
    assert owned(two) == {"eu-1", "us-1"}
    done = two("apply", "--auto-approve", "--forget-cluster", "eu-1", code=0)
    assert "eu-1 is gone for good: what was on record there is forgotten" in done.out
    assert owned(two) == {"us-1"}
    assert "No changes." in two("plan", "--detailed-exitcode", code=0).out
