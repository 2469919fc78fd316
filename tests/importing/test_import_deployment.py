"""Deployments as agents: what is said, what is left out, and what is never written down."""

from __future__ import annotations

from typing import Any

import pytest

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
    service,
    spec_of,
    told,
)


def test_the_plainest_deployment_is_an_agent_that_takes_it_over() -> None:
    one = imported(deployment())
    assert (str(one.name), one.path, one.adopts) == ("support/triage", "agents/support/triage.yaml", True)
    assert one.document["metadata"] == {"name": "triage", "namespace": "support", "labels": {"team": "support"}}
    assert one.document["spec"] == {
        "image": "ghcr.io/acme/triage:1",
        "replicas": 2,
        "rollout": {"maxSurge": "25%", "maxUnavailable": "25%", "timeout": "10m"},
        "adopt": True,
        "deployment": {"selector": SELECTOR, "container": "main", "serviceAccount": "default", "asFound": True},
    }
    assert one.of(Fate.LEFT_OUT) == []


def test_what_no_cluster_has_is_not_adopted() -> None:
    one = imported(deployment(live=False))
    assert one.adopts is False
    assert "adopt" not in one.document["spec"]
    assert "timeout" not in one.document["spec"]["rollout"]


def test_a_command_an_environment_and_resources_are_taken_as_they_are() -> None:
    main = container(
        command=["python", "-m", "acme"],
        args=["--mode", "fast", ""],
        env=[
            {"name": "LOG", "value": "info"},
            {"name": "EMPTY"},
            {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}},
            {"name": "LOG", "value": "debug"},
        ],
        resources={"requests": {"cpu": 1, "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
    )
    spec = spec_of(deployment(main))
    assert (spec["command"], spec["args"]) == (["python", "-m", "acme"], ["--mode", "fast", ""])
    assert spec["env"] == [
        {"name": "EMPTY", "value": ""},
        {"name": "DB", "secret": {"name": "db", "key": "url"}},
        {"name": "LOG", "value": "debug"},
    ]
    assert spec["resources"] == {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}


SECRET = "hunter2-do-not-write"


@pytest.mark.parametrize(
    "fields",
    [
        {"env": [{"name": "API_TOKEN", "value": SECRET}]},
        {"env": [{"name": "DATABASE_URL", "value": f"postgres://app:{SECRET}@db/app"}]},
        {"args": [f"--api-key={SECRET}"]},
        {"args": ["--password", SECRET]},
        {"command": ["sh", "-c", f"TOKEN={SECRET} exec app"]},
        {"command": ["app", f"https://user:{SECRET}@example.org/"]},
        {"readinessProbe": {"exec": {"command": ["curl", f"--token={SECRET}"]}}},
    ],
)
def test_a_literal_that_looks_secret_is_named_and_not_written(fields: dict[str, Any]) -> None:
    one = imported(deployment(container(**fields)))
    assert one.problem == ""
    assert SECRET not in one.text
    assert SECRET not in str(one.notes)
    assert in_container(told(one))


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key=$(API_KEY)"],
        ["--token-file", "/var/run/token"],
        ["--token", "--verbose"],
        ["--use-token=true"],
        ["key"],
    ],
)
def test_words_that_only_speak_of_secrets_are_written(words: list[str]) -> None:
    assert spec_of(deployment(container(args=words)))["args"] == words


def test_an_environment_that_an_agent_cannot_say_is_left_where_it_is() -> None:
    env: list[dict[str, Any]] = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
        {"name": "d.e", "value": "x"},
    ]
    one = imported(deployment(container(env=env, envFrom=[{"configMapRef": {"name": "all"}}])))
    assert "env" not in one.document["spec"]
    assert in_container(told(one)) == ["env[A]", "env[B]", "env[C]", "envFrom"]
    assert "spec.env[d.e]" in told(one)


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({"httpGet": {"port": 8080}}, {"http": {"path": "/", "port": 8080}}),
        (
            {"httpGet": {"path": "/ok", "port": "web", "scheme": "HTTPS"}, "periodSeconds": 90, "timeoutSeconds": 1},
            {"http": {"path": "/ok", "port": "web", "scheme": "HTTPS"}, "period": "90s"},
        ),
        ({"tcpSocket": {"port": "web"}, "failureThreshold": 5}, {"tcp": {"port": "web"}, "failureThreshold": 5}),
        ({"grpc": {"port": 8080, "service": "s"}}, {"grpc": {"port": 8080, "service": "s"}}),
        (
            {"exec": {"command": ["true"]}, "initialDelaySeconds": 7},
            {"exec": {"command": ["true"]}, "initialDelay": "7s"},
        ),
    ],
)
def test_probes_keep_their_handlers_and_numbers(probe: dict[str, Any], expected: dict[str, Any]) -> None:
    main = container(ports=[{"name": "web", "containerPort": 8080}], readinessProbe=probe)
    assert spec_of(deployment(main))["probes"] == {"readiness": expected}


def test_a_probe_of_a_port_that_nobody_named_declares_it() -> None:
    spec = spec_of(deployment(container(livenessProbe={"httpGet": {"path": "/", "port": 9000}})))
    assert spec["ports"] == [{"name": "http", "port": 9000}]


def test_ports_are_called_as_the_container_or_the_service_calls_them() -> None:
    main = container(
        ports=[
            {"containerPort": 8080},
            {"name": "stats", "containerPort": 9090},
            {"containerPort": 53, "protocol": "UDP"},
        ]
    )
    front = service({"name": "web", "port": 80, "targetPort": 8080}, {"name": "s", "port": 9090, "targetPort": "stats"})
    assert spec_of(deployment(main), front)["ports"] == [
        {"name": "web", "port": 8080, "servicePort": 80},
        {"name": "stats", "port": 9090},
        {"name": "http", "port": 53, "protocol": "UDP"},
    ]


def test_a_second_port_of_a_service_for_the_same_number_is_left_out() -> None:
    main = container(ports=[{"name": "web", "containerPort": 8080}])
    front = service({"name": "old", "port": 81, "targetPort": "web"}, {"name": "web", "port": 80, "targetPort": "web"})
    one = imported(deployment(main), front)
    assert one.document["spec"]["ports"] == [{"name": "web", "port": 8080, "servicePort": 80}]
    assert told(one)["Service spec.ports[81]"] == "a second port that leads to 8080"


HARDENED_POD = {
    "serviceAccountName": "triage",
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
}
HARDENED = {
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    },
    "volumeMounts": [{"name": "agent-tmp", "mountPath": "/tmp"}],
}


def test_pods_that_are_as_agents_are_need_no_shape() -> None:
    main = container(name="agent", **HARDENED)
    selector = {"matchLabels": {AGENT_LABEL: "triage"}}
    assert "deployment" not in spec_of(deployment(main, pod=HARDENED_POD, selector=selector))


@pytest.mark.parametrize(
    "pod",
    [{"automountServiceAccountToken": True}, {"securityContext": {}}, {"enableServiceLinks": None}],
)
def test_pods_that_lack_any_of_it_stay_as_they_were_found(pod: dict[str, Any]) -> None:
    main = container(name="agent", **HARDENED)
    selector = {"matchLabels": {AGENT_LABEL: "triage"}}
    spec = spec_of(deployment(main, pod=HARDENED_POD | pod, selector=selector))
    assert spec["deployment"] == {"serviceAccount": "triage", "asFound": True}


def test_a_service_that_is_open_to_the_outside_stays_so() -> None:
    main = container(name="agent", ports=[{"name": "http", "containerPort": 80}], **HARDENED)
    main["lifecycle"] = {"preStop": {"sleep": {"seconds": 5}}}
    selector = {"matchLabels": {AGENT_LABEL: "triage"}}
    inside = [deployment(main, pod=HARDENED_POD, selector=selector), service({"port": 80})]
    assert "deployment" not in spec_of(*inside)
    outside = [inside[0], service({"port": 80}, type="LoadBalancer")]
    assert spec_of(*outside)["deployment"]["asFound"] is True


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": SELECTOR, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
        {"matchLabels": {AGENT_LABEL: "another"}},
        {},
    ],
)
def test_a_selector_that_an_agent_cannot_have_is_said_to_mean_a_replacement(selector: dict[str, Any]) -> None:
    one = imported(deployment(selector=selector))
    assert "selector" not in one.document["spec"]["deployment"]
    assert "replaced" in told(one)["Deployment spec.selector"]


def test_several_containers_are_told_of_and_the_one_that_kubectl_means_is_the_agent() -> None:
    side, main = {"name": "side", "image": "s"}, container()
    assert spec_of(deployment(side, main))["image"] == "s"
    assert spec_of(deployment(side, container(name="triage")))["image"] == "ghcr.io/acme/triage:1"
    body = deployment(side, main)
    body["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "main"}
    one = imported(body)
    assert one.document["spec"]["deployment"]["container"] == "main"
    assert "Deployment spec.template.spec.containers[side]" in told(one)


@pytest.mark.parametrize(
    ("pod", "path"),
    [
        ({"initContainers": [{"name": "i"}]}, "initContainers"),
        ({"volumes": [{"name": "data", "emptyDir": {}}]}, "volumes"),
        ({"hostNetwork": True}, "hostNetwork"),
        ({"nodeSelector": {"disk": "ssd"}}, "nodeSelector"),
        ({"imagePullSecrets": [{"name": "r"}]}, "imagePullSecrets"),
        ({"tolerations": [{"key": "a"}]}, "tolerations"),
        ({"affinity": {"nodeAffinity": {}}}, "affinity"),
        ({"someFieldOfTheFuture": 1}, "someFieldOfTheFuture"),
    ],
)
def test_what_has_no_field_is_named_with_its_place(pod: dict[str, Any], path: str) -> None:
    one = imported(deployment(pod=pod))
    assert [note.path for note in one.of(Fate.LEFT_OUT)] == [f"Deployment spec.template.spec.{path}"]
    assert f"#   Deployment spec.template.spec.{path}: " in one.text


def test_defaults_that_a_server_fills_in_are_not_told() -> None:
    pod = {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    main = container(imagePullPolicy="IfNotPresent", terminationMessagePath="/dev/termination-log", resources={})
    assert imported(deployment(main, pod=pod, revisionHistoryLimit=3)).of(Fate.LEFT_OUT) == []


METRICS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        {"cpu": "70%"},
    ),
    (
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
        {"memory": {"average": "1Gi"}},
    ),
    (
        {
            "type": "Pods",
            "pods": {"metric": {"name": "depth"}, "target": {"type": "AverageValue", "averageValue": "30"}},
        },
        {"pods": {"name": "depth", "average": "30"}},
    ),
    (
        {
            "type": "Object",
            "object": {
                "metric": {"name": "hits"},
                "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
                "target": {"type": "Value", "value": "10"},
            },
        },
        {"object": {"name": "hits", "object": {"apiVersion": "v1", "kind": "Service", "name": "s"}, "value": "10"}},
    ),
    (
        {
            "type": "External",
            "external": {
                "metric": {"name": "queue", "selector": {"matchLabels": {"q": "a"}}},
                "target": {"type": "AverageValue", "averageValue": "5"},
            },
        },
        {"external": {"name": "queue", "selector": {"q": "a"}, "average": "5"}},
    ),
]
REQUESTS = container(resources={"requests": {"cpu": "1", "memory": "1Gi"}})


@pytest.mark.parametrize(("metric", "expected"), METRICS)
def test_an_autoscaler_is_taken_with_its_metrics(metric: dict[str, Any], expected: dict[str, Any]) -> None:
    down = {
        "stabilizationWindowSeconds": 60,
        "selectPolicy": "Min",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}],
    }
    spec = spec_of(deployment(REQUESTS), autoscaler(metric, behavior={"scaleDown": down}))
    assert "replicas" not in spec
    assert spec["autoscaling"] == {
        "min": 2,
        "max": 9,
        "metrics": [expected],
        "behavior": {
            "scaleDown": {"stabilization": "1m", "selectPolicy": "Min", "policies": [{"pods": 1, "period": "30s"}]}
        },
    }


@pytest.mark.parametrize(
    "metric",
    [
        {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "main"}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 150}}},
        {},
    ],
)
def test_an_autoscaler_that_an_agent_cannot_say_keeps_the_replicas(metric: dict[str, Any]) -> None:
    one = imported(deployment(REQUESTS), autoscaler(metric))
    assert (one.document["spec"]["replicas"], "autoscaling" in one.document["spec"]) == (2, False)
    assert any("utoscal" in path for path in told(one))


def test_an_autoscaler_under_another_name_stays_and_keeps_the_replicas() -> None:
    one = imported(deployment(REQUESTS), autoscaler(METRICS[0][0], name="elsewhere"))
    assert one.document["spec"]["replicas"] == 2
    assert (
        "kubectl delete horizontalpodautoscaler elsewhere -n support" in told(one)["HorizontalPodAutoscaler elsewhere"]
    )


@pytest.mark.parametrize("bound", [{"minAvailable": 1}, {"maxUnavailable": "50%"}])
def test_a_disruption_budget_is_taken_with_its_bound(bound: dict[str, Any]) -> None:
    assert spec_of(deployment(), budget(**bound))["disruption"] == bound


def test_two_budgets_over_the_same_pods_are_warned_of() -> None:
    one = imported(deployment(), budget(name="other", minAvailable=1))
    (note,) = one.of(Fate.TO_DO)
    assert note.path == "PodDisruptionBudget other"
    assert "kubectl delete poddisruptionbudget other -n support" in note.text


def test_services_under_other_names_stay() -> None:
    one = imported(
        deployment(), service({"port": 80}, name="front"), made("v1", "Service", "far", {"selector": {"x": "y"}})
    )
    assert list(told(one)) == ["Service front"]


def test_a_tool_that_holds_the_objects_is_named() -> None:
    body = deployment()
    body["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "apps:x"}
    (note,) = imported(body).of(Fate.TO_DO)
    assert "Argo CD" in note.text


def test_a_recreated_deployment_may_lose_all_pods_at_once_as_before() -> None:
    one = imported(deployment(strategy={"type": "Recreate"}))
    assert one.document["spec"]["rollout"] == {"maxSurge": 0, "maxUnavailable": "100%", "timeout": "10m"}
    assert told(one)["Deployment spec.strategy"]


def test_times_of_a_rollout_are_kept() -> None:
    spec = spec_of(
        deployment(minReadySeconds=20, progressDeadlineSeconds=90, pod={"terminationGracePeriodSeconds": 60}),
    )
    assert spec["rollout"] == {
        "maxSurge": "25%",
        "maxUnavailable": "25%",
        "timeout": "90s",
        "settle": "20s",
        "terminationGrace": "1m",
    }


def test_what_an_adoption_writes_over_is_told_field_by_field() -> None:
    one = imported(deployment(revisionHistoryLimit=10), service({"name": "x", "port": 80, "targetPort": 9}))
    found = {note.path: note.text for note in one.of(Fate.CHANGES)}
    assert found == {"Deployment spec.revisionHistoryLimit": "10 becomes 3"}


def test_labels_that_agents_or_tools_set_are_not_taken() -> None:
    body = deployment()
    body["metadata"]["labels"] = {
        "app.kubernetes.io/name": "x",
        "helm.sh/chart": "y",
        "tier": "web",
        "bad key": "z",
        "long": "v" * 64,
    }
    one = imported(body)
    assert one.document["metadata"]["labels"] == {"team": "support", "tier": "web"}
    assert "metadata.labels.bad key" in told(one)


@pytest.mark.parametrize("name", ["Upper", "with.dots", "x" * 51])
def test_a_name_that_no_agent_can_have_is_said(name: str) -> None:
    body = deployment()
    body["metadata"]["name"] = name
    assert "cannot be called this" in imported(body).problem


def test_a_namespace_that_nobody_said_is_asked_for() -> None:
    body = deployment()
    del body["metadata"]["namespace"]
    assert "-n" in imported(body).problem


def test_no_image_is_asked_for_and_one_may_be_given() -> None:
    body = deployment({"name": "main"})
    assert "--image" in imported(body).problem
    assert spec_of(body, image="mine:1")["image"] == "mine:1"


def test_the_cluster_that_it_was_read_from_is_its_place() -> None:
    spec = spec_of(deployment(), place="eu-1", clusters=("eu-1", "us-1"))
    assert spec["placement"] == {"clusters": {"names": ["eu-1"]}}
