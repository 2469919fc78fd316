"""What real Helm makes of charts, without a cluster: it lints them, and gives the objects that `render` gives."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName
from reconciler.model.source import Blob, Revision
from reconciler.spec import read_fleet
from tests.helm.helm import Helm, HelmFailed, write
from tests.render.charts import any_agents, by_kind, files, objects
from tests.render.test_render import CASES

EXAMPLES = Path(__file__).parents[2] / "examples" / "agents"
FULL = CASES["full"][0]


@pytest.mark.parametrize("case", sorted(CASES))
def test_helm_lints_a_chart_without_a_warning(helm: Helm, tmp_path: Path, case: str) -> None:
    agent, where = CASES[case]
    for replicas in where.values():
        helm("lint", "--strict", str(write(files(agent, replicas), tmp_path)))


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_default_objects_are_those_that_render_gives(helm: Helm, tmp_path: Path, case: str) -> None:
    agent, where = CASES[case]
    for cluster, replicas in where.items():
        total = sum(where.values())
        folder = write(files(agent, replicas, total), tmp_path / cluster)
        got = by_kind(helm.template(folder, namespace=agent.name.namespace))
        assert got == by_kind(objects(agent, replicas, total))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(any_agents(), st.integers(0, 3), st.integers(0, 2))
def test_any_agent_survives_its_chart(helm: Helm, agent: Agent, replicas: int, elsewhere: int) -> None:
    folder = Path(tempfile.mkdtemp(dir=helm.home))
    write(files(agent, replicas, replicas + elsewhere), folder)
    got = by_kind(helm.template(folder, namespace=agent.name.namespace))
    assert got == by_kind(objects(agent, replicas, replicas + elsewhere))
    shutil.rmtree(folder)


def test_the_default_objects_of_every_example_are_those_that_render_gives(helm: Helm, tmp_path: Path) -> None:
    blobs = {
        path.relative_to(EXAMPLES).as_posix(): Blob(id=str(path), data=path.read_bytes())
        for path in EXAMPLES.rglob("*.yaml")
    }
    fleet = read_fleet(Revision(commit="1", ref="main"), blobs)
    assert len(fleet.agents) >= 12
    for name, agent in fleet.agents.items():
        folder = write(files(agent, agent.spec.min_replicas), tmp_path / name.namespace / name.name)
        helm("lint", "--strict", str(folder))
        got = by_kind(helm.template(folder, namespace=name.namespace))
        assert got == by_kind(objects(agent, agent.spec.min_replicas)), name


class Changed:
    """What the chart of the agent that has everything gives where an installer says otherwise."""

    def __init__(self, helm: Helm, folder: Path) -> None:
        self.helm, self.folder = helm, folder

    def __call__(self, *settings: str, namespace: str = "support", **values: Any) -> Any:
        """The objects by kind; `settings` are for --set, `values` a file of values."""
        own = self.folder.parent / "values.yaml"
        own.write_text(json.dumps(values))
        flags = [part for setting in settings for part in ("--set", setting)]
        return by_kind(self.helm.template(self.folder, "--values", str(own), *flags, namespace=namespace))


@pytest.fixture
def changed(helm: Helm, tmp_path: Path) -> Changed:
    return Changed(helm, write(files(FULL, 2, 3), tmp_path / "chart"))


def container(found: Any) -> Any:
    return found["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def config_hash(found: Any) -> str:
    return str(found["Deployment"]["spec"]["template"]["metadata"]["annotations"]["agents.codevald.io/config-hash"])


def told(found: Any) -> Any:
    return json.loads(found["ConfigMap"]["data"]["agent.json"])


@pytest.mark.parametrize(
    ("values", "change"),
    [
        ({"systemMessage": "Be {{ quick }}.\n"}, {"system_message": "Be {{ quick }}.\n"}),
        ({"description": "<b>&</b>\u2028"}, {"description": "<b>&</b>\u2028"}),
        ({"image": {"tag": "2.0.0"}}, {"image": "ghcr.io/acme/triage:2.0.0"}),
        ({"config": '{"a": [1.0, null, 12345678901234567890]}'}, {}),
        ({"modelConfig": {"model": "another"}}, {}),
        ({"nodeSelector": {"disk": "ssd"}}, {}),
    ],
)
def test_an_installers_value_does_what_the_agents_would(changed: Changed, values: Any, change: Any) -> None:
    """What an agent can say itself comes out as if it had; and the configuration's hash follows its text alone."""
    found = changed(**values)
    if change:
        assert found == by_kind(objects(replace(FULL, spec=replace(FULL.spec, **change)), 2, 3))
    before = changed()
    assert (found["ConfigMap"]["data"] == before["ConfigMap"]["data"]) == (config_hash(found) == config_hash(before))


def test_another_namespace_is_told_everywhere(changed: Changed) -> None:
    moved = replace(FULL, name=AgentName.parse("elsewhere/triage"))
    assert changed(namespace="elsewhere") == by_kind(objects(moved, 2, 3))


def test_another_name_is_told_everywhere(changed: Changed) -> None:
    for name in ("7days", "a-" + "b" * 50):
        renamed = replace(FULL, name=AgentName(namespace="support", name=name))
        assert changed(f"nameOverride={name}") == by_kind(objects(renamed, 2, 3))


def test_free_configuration_is_replaced_or_merged_over(changed: Changed) -> None:
    whole = changed(config='{\n  "big": 12345678901234567890, "one": 1.0, "nothing": null\n}')
    text = whole["ConfigMap"]["data"]["agent.json"]
    assert '"big": 12345678901234567890, "one": 1.0, "nothing": null' in text, "JSON text is taken as it is written"
    merged = told(changed("configOverrides.queues.billing[0]=invoice", "configOverrides.new=a<b"))
    assert merged["config"] == {"queues": {"billing": ["invoice"]}, "ünïcode": True, "new": "a<b"}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"config": "{not json"}, "invalid character"),
        ({"config": "[1]"}, "config must be a JSON object"),
        ({"modelConfig": {"parameters": "1"}}, "modelConfig.parameters must be a JSON object"),
        ({"replicaCount": "three"}, "/replicaCount"),
        ({"replicas": 3}, "'replicas' not allowed"),
        ({"image": {"tag": 1.5}}, "/image/tag"),
        ({"env": [{"name": "A", "value": 1}]}, "/env/0/value"),
    ],
)
def test_mistakes_of_installers_are_refused_with_their_place(changed: Changed, values: Any, complaint: str) -> None:
    with pytest.raises(HelmFailed, match=re.escape(complaint)):
        changed(**values)


def test_more_environment_is_added_or_replaces_what_has_its_name(changed: Changed) -> None:
    before = container(changed())["env"]
    more = [{"name": "LOG", "value": "debug"}, {"name": "PORT", "value": "1"}, {"name": "NEW", "value": "012"}]
    after = container(changed(extraEnv=more))["env"]
    assert [entry["name"] for entry in after] == [*(entry["name"] for entry in before), "NEW"]
    assert {entry["name"]: entry.get("value") for entry in after}.items() >= {
        ("LOG", "debug"), ("PORT", "1"), ("NEW", "012")
    }  # fmt: skip


def test_a_digest_wins_over_the_tag_and_names_the_version_where_there_is_none(changed: Changed) -> None:
    digest = "sha256:0123456789abcdef0123"
    assert container(changed(f"image.digest={digest}"))["image"] == f"ghcr.io/acme/triage:1.4.2@{digest}"
    found = changed(f"image.digest={digest}", "image.tag=")
    assert container(found)["image"] == f"ghcr.io/acme/triage@{digest}"
    assert found["Deployment"]["metadata"]["labels"]["app.kubernetes.io/version"] == "0123456789ab"


def test_replicas_are_a_number_or_the_autoscalers(changed: Changed) -> None:
    fixed = changed("autoscaling.enabled=false", "replicaCount=4")
    assert fixed["Deployment"]["spec"]["replicas"] == 4
    assert "HorizontalPodAutoscaler" not in fixed
    scaled = changed("autoscaling.maxReplicas=12")
    assert "replicas" not in scaled["Deployment"]["spec"]
    assert scaled["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 12
    stopped = changed("replicaCount=0")
    assert stopped["Deployment"]["spec"]["replicas"] == 0
    assert not {"HorizontalPodAutoscaler", "PodDisruptionBudget"} & set(stopped)


def test_where_pods_run_and_as_whom_is_the_installers(changed: Changed) -> None:
    toleration = {"key": "gpu", "operator": "Exists", "tolerationSeconds": 3600000}
    found = changed(
        "serviceAccount.create=false",
        "serviceAccount.name=shared",
        nodeSelector={"disk": "ssd"},
        tolerations=[toleration],
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        imagePullSecrets=[{"name": "registry"}],
        priorityClassName="high",
        podLabels={"tier": "front", "agents.codevald.io/agent": "not-mine"},
        podAnnotations={"note": "{{ hello }}"},
        service={"type": "LoadBalancer", "annotations": {"lb": "internal"}},
    )
    assert "ServiceAccount" not in found
    template = found["Deployment"]["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == "shared"
    assert template["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert template["spec"]["tolerations"] == [toleration]
    assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert template["spec"]["priorityClassName"] == "high"
    assert template["metadata"]["annotations"]["note"] == "{{ hello }}"
    labels = template["metadata"]["labels"]
    assert (labels["tier"], labels["agents.codevald.io/agent"]) == ("front", "triage"), "what selects pods stays"
    assert "tier" not in found["Deployment"]["metadata"]["labels"]
    assert found["Service"]["spec"]["type"] == "LoadBalancer"
    assert found["Service"]["metadata"]["annotations"]["lb"] == "internal"


def test_a_service_is_offered_to_other_clusters_where_that_is_said(changed: Changed) -> None:
    assert changed("service.export=true") == by_kind(objects(FULL, 2, 3, exported=True))
    assert "ServiceExport" not in changed("service.export=true", ports=[])


def test_the_fleets_mark_can_be_left_out(changed: Changed) -> None:
    mark = "agents.codevald.io/tracking-id"
    assert all(mark in body["metadata"]["annotations"] for body in changed().values())
    assert not any(mark in body["metadata"]["annotations"] for body in changed("tracking=false").values())


def test_a_probe_is_changed_in_kind_or_taken_away(changed: Changed) -> None:
    found = container(changed(readinessProbe={"httpGet": None, "tcpSocket": {"port": "http"}}, livenessProbe=None))
    assert found["readinessProbe"]["tcpSocket"] == {"port": "http"}
    assert "httpGet" not in found["readinessProbe"]
    assert "livenessProbe" not in found


def test_two_charts_are_parts_of_one_and_each_keeps_to_itself(helm: Helm, tmp_path: Path) -> None:
    whole = {"apiVersion": "v2", "name": "all", "version": "1.0.0"}
    write({"Chart.yaml": json.dumps(whole), "values.yaml": "global: {region: eu}\n"}, tmp_path)
    other = replace(FULL, name=AgentName.parse("support/other"))
    for agent in (FULL, other):
        write(files(agent, 2, 3), tmp_path / "charts" / agent.name.name)
    got = helm.template(tmp_path, namespace="support")
    wanted = [*objects(FULL, 2, 3), *objects(other, 2, 3)]

    def key(body: Any) -> tuple[str, str]:
        return body["kind"], body["metadata"]["name"]

    assert sorted(got, key=key) == sorted(wanted, key=key)


def test_a_chart_may_be_a_part_of_another_and_be_left_out_by_it(helm: Helm, tmp_path: Path) -> None:
    agent, _ = CASES["plain"]
    name = agent.name.name
    write(files(agent), tmp_path / "charts" / name)
    head = {"apiVersion": "v2", "name": "desk", "version": "1.0.0"}
    part = {"name": name, "version": "0.1.0", "condition": f"{name}.enabled"}
    write({"Chart.yaml": json.dumps(head | {"dependencies": [part]}), "values.yaml": "{}"}, tmp_path)
    asked = (tmp_path, "--set", f"{name}.enabled=true")
    assert by_kind(helm.template(*asked, namespace=agent.name.namespace)) == by_kind(objects(agent))
    assert helm.template(tmp_path, "--set", f"{name}.enabled=false", namespace="x") == []
