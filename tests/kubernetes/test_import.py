"""What kubectl made and what kagent declares, written as agents' files, plans to adoptions and to nothing after."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from reconciler.model.events import Outcome
from reconciler.model.plan import Action
from tests.engine.fleets import applied, finished, plan_of

pytestmark = pytest.mark.controlplane

KAGENT = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "agents.kagent.dev"},
    "spec": {
        "group": "kagent.dev",
        "names": {"kind": "Agent", "plural": "agents", "singular": "agent"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha2",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}
DECLARATIVE: dict[str, Any] = {
    "apiVersion": "kagent.dev/v1alpha2",
    "kind": "Agent",
    "metadata": {"name": "helper"},
    "spec": {
        "type": "Declarative",
        "description": "Helps",
        "declarative": {
            "systemMessage": "You help.\n",
            "modelConfig": "default",
            "tools": [
                {"type": "McpServer", "mcpServer": {"name": "tickets", "kind": "MCPServer", "toolNames": ["find"]}}
            ],
            "a2aConfig": {"skills": [{"id": "help", "name": "Help", "description": "Helps", "tags": ["x"]}]},
        },
    },
}


def imported(fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reconciler.cli", "import", "--cluster", fleet.cluster, "-n", fleet.namespace]
    return subprocess.run([*command, *arguments], cwd=fleet.root, capture_output=True, text=True, check=False)


async def test_what_kubectl_made_is_adopted_and_not_restarted(control_plane, namespace, fleet):
    run = ("-n", namespace)
    control_plane.kubectl("create", "deployment", "web", "--image=registry.example/web:1.2", "--replicas=2", *run)
    control_plane.kubectl("expose", "deployment", "web", "--port=8080", *run)
    control_plane.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *run)
    done = imported(fleet)
    assert done.returncode == 0, done.stderr
    fleet.commit({})
    async with await fleet.session() as session:
        plan = await plan_of(session)
        assert {(str(one.name), one.action) for one in plan.changes} == {(f"{namespace}/web", Action.ADOPT)}
        assert finished(await applied(session, plan))[f"{namespace}/web"].outcome is Outcome.APPLIED
        assert not (await plan_of(session)).changes
    live = control_plane.get("deployment", "web", *run)
    assert live["spec"]["selector"]["matchLabels"] == {"app": "web"}
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/web:1.2"
    assert live["spec"]["replicas"] == 2


async def test_an_agent_of_kagent_becomes_an_agent(control_plane, namespace, fleet):
    control_plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(KAGENT))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/agents.kagent.dev", "--timeout=30s")
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(DECLARATIVE))
    done = imported(fleet, "agent/helper", "--image", "registry.example/helper:1")
    assert done.returncode == 0, done.stderr
    fleet.commit({})
    async with await fleet.session() as session:
        plan = await plan_of(session)
        assert {(str(one.name), one.action) for one in plan.changes} == {(f"{namespace}/helper", Action.CREATE)}
        (change,) = plan.changes
        assert change.agent is not None
        assert change.agent.spec.system_message == "You help.\n"
        assert finished(await applied(session, plan))[f"{namespace}/helper"].outcome is Outcome.APPLIED
        assert not (await plan_of(session)).changes
