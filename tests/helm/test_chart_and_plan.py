"""A fleet that meets a release of Helm on a real control plane: left alone unasked, taken over where it says so."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.reconcile import PlanningCache
from reconciler.engine.reconcile import declare as declaration_of
from reconciler.model.events import Outcome
from reconciler.model.plan import Action, HoldCode
from tests.controlplane.fixtures import ControlPlanes
from tests.controlplane.plane import ControlPlane
from tests.engine.fleets import applied, finished, plan_of
from tests.helm.helm import Helm, HelmFailed, write
from tests.kubernetes.fleets import PlaneFleet
from tests.plan import builders
from tests.render.charts import files

RECORDED = Path(__file__).parents[1] / "plan" / "recorded" / "helm-release.json"
WEB = "  replicas: 2\n  ports: [{name: http, port: 8080}]\n"
ADOPTED = WEB + "  adopt: true\n"
KINDS = "serviceaccounts,configmaps,services,deployments,poddisruptionbudgets"


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the chart of the fleet's one agent."""

    helm: Helm
    folder: Path
    namespace: str

    def do(self, verb: str, *arguments: str) -> str:
        chart = [str(self.folder)] if verb != "uninstall" else []
        scope = ["--namespace", self.namespace, "--wait", "--timeout", "60s"]
        return self.helm(verb, "web", *chart, *arguments, *scope)


@pytest.fixture
def fleet(tmp_path: Path, control_plane: ControlPlane, namespace: str) -> PlaneFleet:
    made = PlaneFleet(tmp_path / "fleet", control_plane, namespace)
    made.declare("other")
    made.declare("web", WEB)
    return made


async def release_of(fleet: PlaneFleet, helm: Helm, plane: ControlPlane, folder: Path) -> Release:
    """The chart of `web` as the fleet declares it, for Helm to install."""
    async with await fleet.session() as session:
        declaration = await declaration_of(session, await session.source.revision(""), PlanningCache())
    (web,) = (agent for name, agent in declaration.agents.items() if name.name == "web")
    made = write(files(web, 2, fleet=fleet.namespace), folder / "chart")
    return Release(Helm(helm.home, plane.kubeconfig), made, fleet.namespace)


@pytest.fixture
async def release(helm: Helm, fleet: PlaneFleet, control_plane: ControlPlane, tmp_path: Path) -> Release:
    """A release that was there before the fleet has applied anything."""
    made = await release_of(fleet, helm, control_plane, tmp_path)
    made.do("install")
    return made


def pods(plane: ControlPlane, namespace: str) -> set[str]:
    """The two pods that run, each by its uid: what is replaced has another."""
    found = plane.get("pods", "-n", namespace, "-l", "agents.codevald.io/agent=web")["items"]
    assert len(found) == 2
    return {pod["metadata"]["uid"] for pod in found}


def image(plane: ControlPlane, namespace: str) -> str:
    pod = plane.get("deployment", "web", "-n", namespace)["spec"]["template"]["spec"]
    return str(pod["containers"][0]["image"])


async def test_a_release_is_left_alone_and_its_agent_is_held(control_plane, namespace, fleet, release):
    before = control_plane.get(KINDS, "-n", namespace, "-l", "agents.codevald.io/agent=web")["items"]
    async with await fleet.session() as session:
        plan = await plan_of(session)
        assert {str(change.name): change.action for change in plan.changes} == {f"{namespace}/other": Action.CREATE}
        (hold,) = plan.holds
        assert hold.code is HoldCode.FOREIGN_OWNER
        assert "belongs to Helm (web)" in hold.text
        assert plan.drift == (), "what carries Helm's mark is no stray of the fleet's"
        await applied(session)
        assert [hold.code for hold in (await plan_of(session)).holds] == [HoldCode.FOREIGN_OWNER]
        fleet.commit({"agents/web.yaml": None})
        plan = await plan_of(session)
        assert (plan.changes, plan.holds, plan.drift) == ((), (), ())
    assert control_plane.get(KINDS, "-n", namespace, "-l", "agents.codevald.io/agent=web")["items"] == before


async def test_an_adopted_release_is_the_fleets_and_helm_keeps_off(control_plane, namespace, fleet, release):
    async with await fleet.session() as session:
        await applied(session)
        before = pods(control_plane, namespace)
        fleet.declare("web", ADOPTED)
        assert [change.action for change in (await plan_of(session)).changes] == [Action.ADOPT]
        done = finished(await applied(session))[f"{namespace}/web"]
        assert done.outcome is Outcome.APPLIED
        assert pods(control_plane, namespace) == before
        assert (await plan_of(session)).changes == ()

        with pytest.raises(HelmFailed, match='conflicts with "reconciler"'):
            release.do("upgrade", "--set", "image.tag=3.0.0")
        assert (await plan_of(session)).changes == ()
        assert "not owned by this release" in release.do("uninstall")

        fleet.declare("web", WEB, image="acme/agent:2")
        plan = await plan_of(session)
        assert plan.holds == (), "`adopt` has done its work"
        assert [change.action for change in plan.changes] == [Action.UPDATE]
        assert finished(await applied(session))[f"{namespace}/web"].outcome is Outcome.APPLIED
        assert image(control_plane, namespace) == "acme/agent:2"
        assert (await plan_of(session)).changes == ()

        fleet.commit({"agents/web.yaml": None})
        assert finished(await applied(session))[f"{namespace}/web"].outcome is Outcome.APPLIED
    assert control_plane.get(KINDS, "-n", namespace, "-l", "agents.codevald.io/agent=web")["items"] == []


async def test_a_release_takes_over_what_a_fleet_runs_without_a_gap(helm, control_plane, namespace, fleet, tmp_path):
    async with await fleet.session() as session:
        await applied(session)
        before = pods(control_plane, namespace)
        release = await release_of(fleet, helm, control_plane, tmp_path)
        with pytest.raises(HelmFailed, match="cannot be imported into the current release"):
            release.do("install")
        release.do("install", "--take-ownership", "--force-conflicts")
        assert pods(control_plane, namespace) == before

        plan = await plan_of(session)
        assert plan.changes == ()
        assert ["belongs to Helm (web)" in hold.text for hold in plan.holds] == [True]
        fleet.commit({"agents/web.yaml": None})
        plan = await plan_of(session)
        assert plan.changes == ()
        assert ["belongs to Helm (web)" in hold.text for hold in plan.holds] == [True]
        with pytest.raises(HelmFailed, match='conflict with "reconciler"'):
            release.do("upgrade", "--set", "image.tag=2.0.0")  # the fleet's hold of the fields is still written there
        release.do("upgrade", "--set", "image.tag=2.0.0", "--force-conflicts")
        assert image(control_plane, namespace) == "acme/agent:2.0.0"
        assert (await plan_of(session)).changes == ()


def test_what_the_planners_tests_know_of_releases_is_what_helm_makes(
    helm: Helm, control_planes: ControlPlanes, tmp_path: Path
) -> None:
    """Set UPDATE_GOLDEN=1 to record it anew. A plane of its own: the namespace is in what is recorded."""
    (plane,) = control_planes(1)
    plane.create_namespace("support")
    (triage,) = builders.declare(builders.fleet_files("support/triage")).agents.values()
    with_cluster = Helm(helm.home, plane.kubeconfig)
    scope = ["--namespace", "support", "--wait", "--timeout", "60s"]
    with_cluster("install", "triage", str(write(files(triage), tmp_path / "chart")), *scope)
    found = plane.get(KINDS, "-n", "support", "-l", "agents.codevald.io/agent=triage", "--show-managed-fields")
    seen = [_kept(item) for item in found["items"]]
    if os.environ.get("UPDATE_GOLDEN"):
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")
    assert seen == json.loads(RECORDED.read_text())


def _kept(item: dict[str, Any]) -> dict[str, Any]:
    """An object without what is another each time, and in the order of its managers."""
    metadata = {
        key: value
        for key, value in item["metadata"].items()
        if key not in ("uid", "resourceVersion", "creationTimestamp")
    }
    entries = [{key: value for key, value in entry.items() if key != "time"} for entry in metadata["managedFields"]]
    metadata["managedFields"] = [entry for entry in entries if entry.get("subresource") != "status"]
    kept = {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}
    if "clusterIP" in item.get("spec", {}):
        kept["spec"] = {key: value for key, value in item["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    return kept
