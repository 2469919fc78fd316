"""What an agent cannot say, or would have in another way, is told of: nothing is lost without a word."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.cli.imports import Asked, others
from reconciler.importing import Fate
from reconciler.model.objects import AGENT_LABEL
from tests.importing.objects import (
    SELECTOR,
    autoscaler,
    budget,
    container,
    deployment,
    imported,
    in_container,
    made,
    objects,
    service,
    spec_of,
    told,
)
from tests.importing.test_import_deployment import HARDENED, HARDENED_POD, METRICS, REQUESTS

POD = "Deployment spec.template.spec."
WEB = container(ports=[{"name": "web", "containerPort": 8080}])


@pytest.mark.parametrize("live", [True, False])
def test_settings_of_security_hooks_and_spreading_are_told(*, live: bool) -> None:
    main = container(
        securityContext={"runAsUser": 5, "privileged": False, "capabilities": {"add": ["NET_ADMIN"]}},
        lifecycle={"preStop": {"exec": {"command": ["drain"]}}},
    )
    pod = {
        "securityContext": {"fsGroup": 2000, "supplementalGroups": []},
        "automountServiceAccountToken": False,
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1},
            {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1},
        ],
    }
    one = imported(deployment(main, pod=pod, live=live))
    assert in_container(told(one)) == ["securityContext", "lifecycle"]
    assert in_container(note.path for note in one.of(Fate.LEFT_OUT)) == ["securityContext", "lifecycle"]
    assert {path.removeprefix(POD) for path in told(one) if "containers" not in path} == {
        "securityContext", "automountServiceAccountToken", "topologySpreadConstraints[zone]",
    }  # fmt: skip
    assert "capabilities, privileged, runAsUser" in one.text


def test_of_pods_that_are_as_agents_are_only_what_is_more_is_told() -> None:
    selector = {"matchLabels": {AGENT_LABEL: "triage"}}
    main = container(name="agent", **HARDENED)
    one = imported(deployment(main, pod=HARDENED_POD, selector=selector))
    assert told(one) == {f"{POD}securityContext": "runAsUser; an agent has no field for that"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"type": "LoadBalancer"}, "type"),
        ({"clusterIP": "None"}, "clusterIP"),
        ({"sessionAffinity": "ClientIP"}, "sessionAffinity"),
        ({"publishNotReadyAddresses": True}, "publishNotReadyAddresses"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "loadBalancerSourceRanges"),
    ],
)
def test_what_a_service_says_beside_its_ports_is_told(fields: dict[str, Any], path: str) -> None:
    one = imported(deployment(WEB), service({"name": "web", "port": 80, "targetPort": "web"}, **fields))
    assert [note.path for note in one.of(Fate.LEFT_OUT)] == [f"Service spec.{path}"]


def test_what_servers_say_of_a_plain_service_is_not_told() -> None:
    filled: dict[str, Any] = {
        "type": "ClusterIP", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
    }  # fmt: skip
    port = {"name": "web", "port": 80, "targetPort": "web", "protocol": "TCP"}
    assert not imported(deployment(WEB), service(port, **filled)).of(Fate.LEFT_OUT)


def test_a_port_of_a_service_that_leads_past_the_agent_is_told() -> None:
    front = service({"port": 80, "targetPort": "web"}, {"name": "tls", "port": 443, "targetPort": "proxy"})
    assert "leads to proxy" in told(imported(deployment(WEB), front))["Service spec.ports[443]"]


def test_whom_a_service_leads_to_afterwards_is_told_where_that_is_another() -> None:
    front = service({"port": 80, "targetPort": "web"}, selector=SELECTOR | {"track": "stable"})
    changed = told(imported(deployment(WEB), front))["Service spec.selector"]
    assert changed.startswith("app=triage,track=stable becomes app=triage:")
    assert "Service spec.selector" not in told(imported(deployment(WEB), service({"port": 80, "targetPort": "web"})))


@pytest.mark.parametrize(
    "selector",
    [{"matchLabels": SELECTOR | {"role": "x"}}, {"matchExpressions": [{"key": "app", "operator": "Exists"}]}],
)
def test_whom_a_budget_protects_afterwards_is_told_where_that_is_another(selector: dict[str, Any]) -> None:
    one = imported(deployment(), budget(maxUnavailable=1, selector=selector))
    assert "becomes app=triage: it protects" in told(one)["PodDisruptionBudget spec.selector"]
    assert "PodDisruptionBudget spec.selector" not in told(imported(deployment(), budget(maxUnavailable=1)))


def test_annotations_for_other_programs_are_told_and_bookkeeping_is_not() -> None:
    front = service({"port": 80, "targetPort": "web"})
    front["metadata"]["annotations"] = {"lb.example.org/class": "x", "meta.helm.sh/release-name": "y"}
    body = deployment(WEB)
    body["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3"}
    one = imported(body, front)
    assert told(one)["Service metadata.annotations"].startswith("lb.example.org/class;")
    assert "Deployment metadata.annotations" not in told(one)


@pytest.mark.parametrize(("spec", "percent"), [({"targetCPUUtilizationPercentage": 65}, "65%"), ({}, "80%")])
def test_an_autoscaler_of_version_1_is_taken_with_its_one_metric(spec: dict[str, Any], percent: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "triage"}
    body = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9} | spec
    old = made("autoscaling/v1", "HorizontalPodAutoscaler", "triage", body)
    assert spec_of(deployment(REQUESTS), old)["autoscaling"] == {"min": 2, "max": 9, "metrics": [{"cpu": percent}]}


def test_an_autoscaler_of_a_deployment_that_rests_is_told() -> None:
    one = imported(deployment(REQUESTS, replicas=0), autoscaler(METRICS[0][0]))
    assert one.document["spec"]["replicas"] == 0
    assert "it rests" in told(one)["HorizontalPodAutoscaler spec"]


def test_approvals_that_tools_of_other_agents_need_are_read_back() -> None:
    """Losing one would let the agent do by itself what a person had to allow."""
    import json

    tools = [
        {"agent": {"name": "support/knowledge"}, "requireApproval": ["ask"]},
        {"mcpServer": {"name": "desk", "toolNames": ["close"]}, "requireApproval": ["close"]},
    ]
    said = {"name": "triage", "namespace": "support", "systemMessage": "", "tools": tools}
    config = made("v1", "ConfigMap", "triage", {})
    config = {key: value for key, value in config.items() if key != "spec"} | {"data": {"agent.json": json.dumps(said)}}
    assert spec_of(deployment(), config)["tools"] == tools


def asked(*names: tuple[str, str]) -> Asked:
    return Asked(names=frozenset(names), namespace="", requirements=(), extends=(), image="")


def test_objects_that_no_agent_is_made_of_are_named() -> None:
    kinds = (("apps/v1", "StatefulSet"), ("batch/v1", "CronJob"), ("networking.k8s.io/v1", "Ingress"))
    read = objects(deployment(), service({"port": 80}), *(made(version, kind, "web", {}) for version, kind in kinds))
    (told_,) = others(read, asked())
    for _, kind in kinds:
        assert f"{kind}." in told_
    assert "Deployment" not in told_
    assert others(read, asked(("", "triage"))) == ()
    assert others(objects(deployment()), asked()) == ()
    (many,) = others(objects(*(made("batch/v1", "Job", f"job-{number}", {}) for number in range(25))), asked())
    assert many.endswith("and 5 more")


CANNOT: list[dict[str, Any]] = [
    {"matchLabels": SELECTOR, "matchExpressions": [{"key": "app", "operator": "Exists"}]},
    {"matchLabels": {AGENT_LABEL: "another"}},
]
"""Selectors that no agent can have."""


@pytest.mark.parametrize("selector", CANNOT)
def test_of_a_deployment_that_is_replaced_what_the_file_cannot_say_is_said_to_be_lost(selector: dict[str, Any]) -> None:
    pod = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "initContainers": [{"name": "prepare"}],
        "imagePullSecrets": [{"name": "pull"}],
    }
    main = container(
        ports=[{"name": "web", "containerPort": 8080}],
        envFrom=[{"secretRef": {"name": "all"}}],
        env=[{"name": "API_TOKEN", "value": "hunter2"}, {"name": "d.e", "value": "x"}],
    )
    front = service({"name": "web", "port": 80, "targetPort": "web"}, sessionAffinity="ClientIP")
    one = imported(deployment(main, pod=pod, selector=selector), front)
    lost = {note.path for note in one.of(Fate.LOST)}
    assert {path.removeprefix(POD) for path in lost} == {
        "volumes", "initContainers", "imagePullSecrets", "containers[main].envFrom", "containers[main].env[API_TOKEN]",
        "spec.env[d.e]",
    }  # fmt: skip
    assert [note.path for note in one.of(Fate.LEFT_OUT)] == ["Service spec.sessionAffinity"], "that stays as it is"
    assert "before applying" in told(one)["Deployment triage"]
    assert "Deployment triage" in {note.path for note in one.of(Fate.TO_DO)}
    assert f"# Lost, for the Deployment is replaced:\n#   {POD}containers[main].env[API_TOKEN]: " in one.text


def test_nothing_is_said_to_be_lost_where_the_deployment_is_taken_over_or_not_there() -> None:
    pod = {"volumes": [{"name": "data", "emptyDir": {}}]}
    for one in (imported(deployment(pod=pod)), imported(deployment(pod=pod, selector=CANNOT[0], live=False))):
        assert [note.path for note in one.of(Fate.LEFT_OUT)] == [f"{POD}volumes"]
        assert not one.of(Fate.LOST)
        assert "Deployment triage" not in told(one)


def test_what_is_lost_with_a_deployment_is_what_a_plan_replaces() -> None:
    """A selector may be of an agent's kind, and still be one that no file can say."""
    one = imported(deployment(selector={"matchLabels": {"app": "x" * 64}}))
    assert [note.path for note in one.of(Fate.LOST)] == ["spec.deployment.selector"]
    assert "Deployment triage" in told(one)


def labelled(**labels: str) -> dict[str, Any]:
    """The Deployment, its pods with more labels."""
    body = deployment(WEB)
    body["spec"]["template"]["metadata"]["labels"] |= labels
    return body


NAME = "app.kubernetes.io/name"
FRONT = service({"port": 80}, name="shop", selector={NAME: "shop"})


def test_another_service_that_finds_no_pods_after_the_adoption_is_told_with_what_mends_it() -> None:
    one = imported(labelled(**{NAME: "shop"}), FRONT)
    (note,) = one.of(Fate.TO_DO)
    assert note.path == "Service shop"
    assert f"{NAME}=shop becomes {NAME}=triage" in note.text
    assert "before applying, kubectl set selector service shop app=triage -n support" in note.text
    assert not one.of(Fate.LEFT_OUT)


@pytest.mark.parametrize("selector", [SELECTOR, {"team": "support"}, {"helm.sh/chart": "shop-1"}])
def test_another_service_that_selects_by_what_stays_on_the_pods_stays(selector: dict[str, Any]) -> None:
    body = labelled(**{"helm.sh/chart": "shop-1", NAME: "shop"})
    one = imported(body, service({"port": 80}, name="shop", selector=selector))
    assert [note.path for note in one.of(Fate.LEFT_OUT)] == ["Service shop"]
    assert not one.of(Fate.TO_DO)


def test_labels_that_stay_beside_an_agents_do_not_stay_on_a_deployment_that_is_replaced() -> None:
    body = labelled(**{"helm.sh/chart": "shop-1"})
    body["spec"]["selector"] = CANNOT[0]
    one = imported(body, service({"port": 80}, name="shop", selector={"helm.sh/chart": "shop-1"}))
    text = told(one)["Service shop"]
    assert "helm.sh/chart=shop-1 goes" in text
    assert f"once it is applied, kubectl set selector service shop {AGENT_LABEL}=triage -n support" in text


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": SELECTOR | {NAME: "shop"}},
        {"matchLabels": SELECTOR, "matchExpressions": [{"key": NAME, "operator": "In", "values": ["shop"]}]},
        {"matchLabels": SELECTOR, "matchExpressions": [{"key": NAME, "operator": "NotIn", "values": ["triage"]}]},
        {"matchLabels": SELECTOR, "matchExpressions": [{"key": AGENT_LABEL, "operator": "DoesNotExist"}]},
    ],
)
def test_another_budget_that_protects_no_pods_after_the_adoption_is_told(selector: dict[str, Any]) -> None:
    one = imported(labelled(**{NAME: "shop"}), budget(name="shop", minAvailable=1, selector=selector))
    (note,) = one.of(Fate.TO_DO)
    assert note.path == "PodDisruptionBudget shop"
    assert "none of the agent's pods" in note.text
    assert "kubectl delete poddisruptionbudget shop -n support" in note.text
    assert "stop every drain" not in note.text, "that needs two over the same pods"
