"""What agents look like as objects: golden manifests, and each promise of the walkthrough by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.agent import (
    Agent,
    DeploymentShape,
    Disruption,
    EnvVar,
    ExecTarget,
    GrpcTarget,
    HttpTarget,
    Metric,
    MetricType,
    ModelConfig,
    Port,
    Probe,
    Probes,
    ProbeTarget,
    Rollout,
    ScalingPolicy,
    ScalingRules,
    SecretRef,
    Skill,
    TcpTarget,
    Tool,
)
from reconciler.model.objects import AGENT_LABEL, CONFIG_HASH_ANNOTATION, KIND_ORDER, TRACKING_ANNOTATION
from reconciler.model.registry import PlacedReplicas
from reconciler.model.units import Duration, Quantity
from reconciler.render import Renderer, agent_card, canonical, digest, port_number, render
from reconciler.render.metadata import label_value, version_of
from tests.placement.builders import PLAIN, agent, resources, rule, scaling
from tests.render.shapes import check

GOLDEN = Path(__file__).parent / "golden"


def probe(target: ProbeTarget, **more: Any) -> Probe:
    texts = {"period": "5s", "timeout": "1s", "initial_delay": "0s"} | more
    times: dict[str, Any] = {key: Duration.parse(text) for key, text in texts.items()}
    return Probe(target=target, **times)


def rollout(**more: Any) -> Rollout:
    plain = {"max_surge": 1, "max_unavailable": 0}
    times = {"timeout": "2m", "settle": "2s", "termination_grace": "30s"}
    return Rollout(**plain | {key: Duration.parse(text) for key, text in times.items()} | more)


PLAIN_AGENT = agent("operations/calculator", description="Works out sums")
FULL = agent(
    "support/triage",
    labels={"team": "support"},
    annotations={"example.com/owner": "ann"},
    description="Sorts incoming tickets",
    image="ghcr.io/acme/triage:1.4.2",
    args=("--verbose",),
    autoscaling=scaling(
        2,
        10,
        scale_up=ScalingRules(stabilization=Duration.parse("0s")),
        scale_down=ScalingRules(
            stabilization=Duration.parse("5m"),
            select_policy="Min",
            policies=(ScalingPolicy(type="Pods", value=1, period=Duration.parse("1m")),),
        ),
    ),
    resources=resources({"cpu": "1000m", "memory": "0.5Gi"}, {"memory": "1024Mi", "nvidia.com/gpu": "1"}),
    env=(
        EnvVar(name="LOG", value="info"),
        EnvVar(name="EMPTY", value=""),
        EnvVar(name="TICKETS_TOKEN", secret=SecretRef(name="tickets", key="token")),
    ),
    model_config=ModelConfig(
        provider="anthropic",
        model="claude-sonnet-4-5",
        secret=SecretRef(name="anthropic", key="api-key"),
        base_url="https://models.example",
        parameters={"temperature": 0.5},
    ),
    system_message="You sort support tickets.\n",
    tools=(
        Tool(mcp_server="tickets", tool_names=("search", "tag"), require_approval=("tag",), url="http://mcp:80/"),
        Tool(agent="support/knowledge"),
    ),
    skills=(Skill(id="triage", name="Triage", description="Sorts a ticket", tags=("support",), examples=("Help!",)),),
    config={"queues": {"billing": ["refund"]}, "ünïcode": True},
    ports=(Port(name="http", port=8080), Port(name="stats-udp", port=8125, protocol="UDP")),
    probes=Probes(
        startup=probe(TcpTarget(port="http")),
        readiness=probe(HttpTarget(path="/healthz", port="http"), initial_delay="1500ms"),
        liveness=probe(ExecTarget(command=("true",)), timeout="10ms"),
    ),
    disruption=Disruption(min_available="50%"),
    rollout=rollout(max_surge="25%"),
)
SUSPENDED = agent("research/asleep", replicas=None, autoscaling=scaling(1, 3), suspend=True, ports=())
TAKEN_OVER = agent(
    "support/desk",
    labels={"team": "support"},
    image="ghcr.io/acme/desk:2",
    replicas=3,
    ports=(Port(name="web", port=8080, service_port=80), Port(name="stats", port=9090)),
    probes=Probes(readiness=probe(TcpTarget(port="web"))),
    deployment=DeploymentShape(
        selector={"app": "desk", "app.kubernetes.io/name": "desk-web"},
        container="main",
        service_account="default",
        as_found=True,
    ),
)
CASES: dict[str, tuple[Agent, dict[str, int]]] = {
    "plain": (PLAIN_AGENT, {"local": 1}),
    "full": (FULL, {"eu-1": 2, "us-1": 1}),
    "suspended": (SUSPENDED, {"local": 0}),
    "taken-over": (TAKEN_OVER, {"local": 3}),
}


def placed(where: Mapping[str, int]) -> tuple[PlacedReplicas, ...]:
    return tuple(PlacedReplicas(cluster=key, replicas=count) for key, count in where.items())


def bodies(declared: Agent, replicas: int = 1, cluster: str = "local") -> dict[str, Any]:
    """The objects of an agent by kind, as an API server would read them."""
    rendered = render(declared, placed({cluster: replicas}), fleet="acme")[cluster]
    return {manifest.ref.kind: json.loads(canonical(manifest.body)) for manifest in rendered}


def on_both(declared: Agent, kind: str) -> list[Any]:
    """The objects of one kind where two clusters have two replicas each."""
    rendered = render(declared, placed({"eu": 2, "us": 2}), fleet="acme")
    return [json.loads(canonical(item.body)) for items in rendered.values() for item in items if item.ref.kind == kind]


def pod(declared: Agent, replicas: int = 1) -> Any:
    return bodies(declared, replicas)["Deployment"]["spec"]["template"]["spec"]


def container(declared: Agent) -> Any:
    return pod(declared)["containers"][0]


@pytest.mark.parametrize("as_found", [False, True])
def test_pods_run_as_the_user_that_is_said(*, as_found: bool) -> None:
    shape = DeploymentShape(run_as_user=1000, as_found=as_found)
    context = pod(agent("demo/hello", deployment=shape))["securityContext"]
    assert context["runAsUser"] == 1000
    assert context.get("runAsNonRoot") is (None if as_found else True)


def test_what_was_taken_over_keeps_what_cannot_change_and_what_its_pods_were() -> None:
    found = bodies(TAKEN_OVER, 3)
    spec = found["Deployment"]["spec"]
    selector = {"app": "desk", "app.kubernetes.io/name": "desk-web"}
    assert spec["selector"]["matchLabels"] == found["Service"]["spec"]["selector"] == selector
    labels = spec["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items()
    assert labels[AGENT_LABEL] == "desk"
    assert found["Deployment"]["metadata"]["labels"]["app.kubernetes.io/name"] == "desk"
    assert "ServiceAccount" not in found
    template = spec["template"]["spec"]
    assert template["serviceAccountName"] == "default"
    assert not {"securityContext", "automountServiceAccountToken", "enableServiceLinks"} & template.keys()
    (main,) = template["containers"]
    assert main["name"] == "main"
    assert not {"securityContext", "lifecycle"} & main.keys()
    assert not {"PORT", "HOST", "PORT_WEB"} & {entry["name"] for entry in main["env"]}
    assert [mount["mountPath"] for mount in main["volumeMounts"]] == ["/etc/agent"]
    web, stats = found["Service"]["spec"]["ports"]
    assert (web["port"], web["targetPort"], stats["port"], stats["targetPort"]) == (80, 8080, 9090, 9090)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Port(name="http", port=8080), Port(name="web", port=8080)),
        (Port(name="http", port=8080, service_port=80), Port(name="http", port=9090, service_port=80)),
    ],
)
def test_pods_of_the_last_revision_are_found_where_callers_notice_nothing(before: Port, after: Port) -> None:
    """Its Service is another one at once, its pods are not until the rollout is over."""
    targets = [
        bodies(agent("a/one", ports=(port,)))["Service"]["spec"]["ports"][0]["targetPort"] for port in (before, after)
    ]
    assert targets[0] == targets[1]


def environment(declared: Agent) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container(declared)["env"]}


@pytest.mark.parametrize("case", sorted(CASES))
def test_manifests_are_the_golden_ones(case: str) -> None:
    """Set UPDATE_GOLDEN=1 to write them anew, and read the difference."""
    declared, where = CASES[case]
    rendered = render(declared, placed(where), fleet="acme")
    text = ""
    for cluster, manifests in rendered.items():
        for manifest in manifests:
            body = yaml.safe_dump(json.loads(canonical(manifest.body)), allow_unicode=True, width=120)
            text += f"--- # {cluster}\n{body}"
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_strict_api_server_would_take_and_keep_every_field(case: str) -> None:
    declared, where = CASES[case]
    for manifests in render(declared, placed(where), fleet="acme").values():
        for manifest in manifests:
            assert check(json.loads(canonical(manifest.body)), as_found=declared.spec.as_found) == []


def test_the_check_itself_finds_what_is_wrong() -> None:
    body = bodies(PLAIN_AGENT)["Deployment"]
    body["spec"]["template"]["spec"]["containers"][0] |= {"imagePull": "x", "args": [], "name": "Other"}
    body["spec"]["revisionHistoryLimit"] = 0
    body["metadata"]["labels"]["long"] = "x" * 64
    del body["spec"]["selector"]
    assert len(check(body)) == 6


def test_objects_come_in_order_of_application_and_know_their_agent() -> None:
    rendered = render(FULL, placed({"us-1": 1, "eu-1": 2}), fleet="acme", exported=frozenset({"us-1"}))
    assert list(rendered) == ["eu-1", "us-1"]
    order = [kind for _, _, kind in KIND_ORDER]
    for manifests in rendered.values():
        kinds = [manifest.ref.kind for manifest in manifests]
        assert kinds == sorted(kinds, key=order.index)
        for manifest in manifests:
            assert manifest.agent == FULL.name
            assert manifest.hash == digest(manifest.body)
            assert manifest.ref.namespace == manifest.body["metadata"]["namespace"] == "support"
            tracking = manifest.body["metadata"]["annotations"][TRACKING_ANNOTATION]
            assert tracking == f"{manifest.ref.group}/{manifest.ref.kind}:support/{manifest.ref.name}:acme"


class TestReplicas:
    def test_they_are_the_placements(self) -> None:
        assert bodies(PLAIN_AGENT, 3)["Deployment"]["spec"]["replicas"] == 3

    def test_they_belong_to_the_autoscaler_where_there_is_one(self) -> None:
        found = bodies(FULL, 2)
        assert "replicas" not in found["Deployment"]["spec"]
        assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2
        assert found["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 10

    def test_a_suspended_agent_keeps_its_objects_at_zero_without_an_autoscaler(self) -> None:
        found = bodies(agent("a/one", autoscaling=scaling(2, 5)), 0)
        assert found["Deployment"]["spec"]["replicas"] == 0
        assert set(found) == {"ServiceAccount", "ConfigMap", "Service", "Deployment"}

    def test_the_maximum_is_divided_like_the_minimum(self) -> None:
        rendered = render(FULL, placed({"eu": 2, "us": 1}), fleet="acme")
        bounds = {key: manifests[-1].body["spec"] for key, manifests in rendered.items()}
        assert {key: (spec["minReplicas"], spec["maxReplicas"]) for key, spec in bounds.items()} == {
            "eu": (2, 7),
            "us": (1, 4),
        }

    def test_everywhere_means_all_of_it_everywhere(self) -> None:
        declared = agent("a/one", autoscaling=scaling(2, 10), placement=rule("all"))
        rendered = render(declared, placed({"eu": 2, "us": 2}), fleet="acme")
        assert [manifests[-1].body["spec"]["maxReplicas"] for manifests in rendered.values()] == [10, 10]

    def test_scaled_by_hand_beyond_the_maximum_raises_it(self) -> None:
        assert (
            bodies(agent("a/one", autoscaling=scaling(1, 4)), 6)["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 6
        )


class TestAutoscaling:
    @pytest.mark.parametrize(
        ("metric", "expected"),
        [
            (
                Metric(type=MetricType.CPU, utilization=70),
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                },
            ),
            (
                Metric(type=MetricType.MEMORY, average=Quantity.parse("1024Mi")),
                {
                    "type": "Resource",
                    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
                },
            ),
            (
                Metric(type=MetricType.PODS, name="queue_depth", average=Quantity.parse("30")),
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "queue_depth"},
                        "target": {"type": "AverageValue", "averageValue": "30"},
                    },
                },
            ),
            (
                Metric(
                    type=MetricType.OBJECT,
                    name="hits",
                    value=Quantity.parse("2000"),
                    object={"apiVersion": "v1", "kind": "Service", "name": "web"},
                ),
                {
                    "type": "Object",
                    "object": {
                        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"},
                        "metric": {"name": "hits"},
                        "target": {"type": "Value", "value": "2k"},
                    },
                },
            ),
            (
                Metric(type=MetricType.EXTERNAL, name="lag", selector={"topic": "a"}, average=Quantity.parse("0.5")),
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": "lag", "selector": {"matchLabels": {"topic": "a"}}},
                        "target": {"type": "AverageValue", "averageValue": "500m"},
                    },
                },
            ),
        ],
    )
    def test_every_kind_of_metric(self, metric: Metric, expected: dict[str, Any]) -> None:
        declared = agent("a/one", autoscaling=type(scaling(1, 2))(min=1, max=2, metrics=(metric,)))
        found = bodies(declared)["HorizontalPodAutoscaler"]
        assert found["spec"]["metrics"] == [expected]
        assert check(found) == []
        assert "behavior" not in found["spec"]

    def test_a_metric_without_a_target_is_a_mistake_of_the_program(self) -> None:
        declared = agent("a/one", autoscaling=type(scaling(1, 2))(min=1, max=2, metrics=(Metric(type=MetricType.CPU),)))
        with pytest.raises(ValueError, match="has no target"):
            bodies(declared)


class TestZeroDowntime:
    def test_no_pod_goes_before_its_successor_is_ready(self) -> None:
        strategy = bodies(PLAIN_AGENT)["Deployment"]["spec"]["strategy"]
        assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}

    @pytest.mark.parametrize("zero", [0, "0%"])
    def test_a_rollout_that_could_never_begin_gets_one_pod_more(self, zero: int | str) -> None:
        declared = agent("a/one", rollout=rollout(max_surge=zero))
        assert bodies(declared)["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {
            "maxSurge": 1,
            "maxUnavailable": 0,
        }

    def test_without_a_readiness_probe_a_pod_counts_once_it_has_settled(self) -> None:
        assert bodies(PLAIN_AGENT)["Deployment"]["spec"]["minReadySeconds"] == 2
        assert "readinessProbe" not in container(PLAIN_AGENT)
        assert bodies(FULL)["Deployment"]["spec"]["minReadySeconds"] == 0, "said, so that no other delay is anybody's"

    def test_a_leaving_pod_still_serves_for_a_while_and_then_has_its_whole_grace(self) -> None:
        assert container(PLAIN_AGENT)["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
        assert pod(PLAIN_AGENT)["terminationGracePeriodSeconds"] == 35
        assert "lifecycle" not in container(SUSPENDED), "nobody is sent to an agent without ports"

    def test_the_deadline_is_the_rollouts_and_longer_than_settling(self) -> None:
        assert bodies(PLAIN_AGENT)["Deployment"]["spec"]["progressDeadlineSeconds"] == 120
        slow = agent("a/one", rollout=rollout(settle=Duration.parse("10m")))
        assert bodies(slow)["Deployment"]["spec"]["progressDeadlineSeconds"] == 601

    def test_a_single_replica_has_no_budget_that_would_nail_it_down(self) -> None:
        assert "PodDisruptionBudget" not in bodies(PLAIN_AGENT, 1)
        assert bodies(PLAIN_AGENT, 2)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1

    def test_what_may_grow_to_several_pods_has_a_budget_from_the_first_on(self) -> None:
        grows = agent("a/one", replicas=None, autoscaling=scaling(1, 9))
        assert bodies(grows, 1)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
        assert "PodDisruptionBudget" not in bodies(agent("a/one", replicas=None, autoscaling=scaling(1, 1)), 1)
        assert "PodDisruptionBudget" not in bodies(grows, 0)

    @pytest.mark.parametrize(
        ("disruption", "key", "value"),
        [(Disruption(min_available=1), "minAvailable", 1), (Disruption(max_unavailable="0%"), "maxUnavailable", "0%")],
    )
    def test_a_budget_that_is_asked_for_is_given(self, disruption: Disruption, key: str, value: int | str) -> None:
        spec = bodies(agent("a/one", disruption=disruption), 1)["PodDisruptionBudget"]["spec"]
        assert spec[key] == value
        assert len({"minAvailable", "maxUnavailable"} & spec.keys()) == 1

    @pytest.mark.parametrize(
        ("disruption", "key", "value"),
        [
            (Disruption(min_available=3), "minAvailable", 1),  # of two: a node can be drained
            (Disruption(min_available=4), "minAvailable", 2),
            (Disruption(min_available="75%"), "minAvailable", "75%"),
            (Disruption(max_unavailable=2), "maxUnavailable", 1),
            (Disruption(max_unavailable=0), "maxUnavailable", 0),
        ],
    )
    def test_clusters_share_the_counts_of_a_budget(self, disruption: Disruption, key: str, value: int | str) -> None:
        for found in on_both(agent("a/one", replicas=4, disruption=disruption), "PodDisruptionBudget"):
            assert found["spec"][key] == value

    @pytest.mark.parametrize(
        ("surge", "away", "rolling"),
        [
            (2, 2, {"maxSurge": 1, "maxUnavailable": 1}),
            (1, 1, {"maxSurge": 1, "maxUnavailable": 0}),  # nobody can be spared on both, and one more is allowed
            (0, 1, {"maxSurge": 0, "maxUnavailable": 1}),
            ("50%", "25%", {"maxSurge": "50%", "maxUnavailable": "25%"}),
        ],
    )
    def test_clusters_that_roll_out_at_once_share_what_may_be_away(
        self, surge: int | str, away: int | str, rolling: Mapping[str, Any]
    ) -> None:
        declared = agent("a/one", replicas=4, rollout=rollout(max_surge=surge, max_unavailable=away))
        for found in on_both(declared, "Deployment"):
            assert found["spec"]["strategy"]["rollingUpdate"] == rolling

    def test_an_agent_that_runs_whole_on_each_cluster_shares_nothing(self) -> None:
        declared = agent(
            "a/one",
            replicas=2,
            placement=rule("all"),
            disruption=Disruption(min_available=1),
            rollout=rollout(max_surge=2, max_unavailable=2),
        )
        for found in on_both(declared, "PodDisruptionBudget"):
            assert found["spec"]["minAvailable"] == 1
        for found in on_both(declared, "Deployment"):
            assert found["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 2, "maxUnavailable": 2}


class TestProbes:
    def test_whole_seconds_at_least_one_and_never_shorter_than_asked(self) -> None:
        found = container(FULL)
        assert found["readinessProbe"]["initialDelaySeconds"] == 2
        assert found["livenessProbe"]["timeoutSeconds"] == 1
        assert found["startupProbe"]["initialDelaySeconds"] == 0

    def test_grpc_probes_take_numbers_only(self) -> None:
        declared = agent("a/one", probes=Probes(liveness=probe(GrpcTarget(port="http"))))
        assert container(declared)["livenessProbe"]["grpc"] == {"port": 8080, "service": ""}

    def test_only_readiness_may_ask_for_several_successes(self) -> None:
        twice = Probe(
            target=TcpTarget(port=8080),
            period=Duration.parse("1s"),
            timeout=Duration.parse("1s"),
            initial_delay=Duration.parse("0s"),
            success_threshold=2,
        )
        found = container(agent("a/one", probes=Probes(readiness=twice, liveness=twice)))
        assert (found["readinessProbe"]["successThreshold"], found["livenessProbe"]["successThreshold"]) == (2, 1)

    def test_a_port_is_found_by_name_or_number_and_an_unknown_one_is_said(self) -> None:
        assert (port_number("http", PLAIN), port_number(9, PLAIN)) == (8080, 9)
        with pytest.raises(LookupError, match="no port is named 'grpc'"):
            port_number("grpc", PLAIN)


class TestWhatTheAgentFinds:
    def test_its_environment(self) -> None:
        found = environment(FULL)
        values = {key: entry.get("value") for key, entry in found.items() if "valueFrom" not in entry}
        assert values == {
            "AGENT_NAME": "triage",
            "AGENT_NAMESPACE": "support",
            "AGENT_CONFIG": "/etc/agent/agent.json",
            "AGENT_CARD": "/etc/agent/agent-card.json",
            "HOST": "0.0.0.0",  # noqa: S104 - what a pod is told
            "PORT": "8080",
            "PORT_HTTP": "8080",
            "PORT_STATS_UDP": "8125",
            "LOG": "info",
            "EMPTY": "",
        }

    def test_secrets_are_references_only(self) -> None:
        found = environment(FULL)
        assert found["MODEL_API_KEY"]["valueFrom"] == {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}
        assert found["TICKETS_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "tickets", "key": "token"}}

    def test_what_the_spec_sets_wins_over_what_we_would_and_stands_once(self) -> None:
        declared = agent("a/one", env=(EnvVar(name="PORT", value="9"),))
        names = [entry["name"] for entry in container(declared)["env"]]
        assert environment(declared)["PORT"]["value"] == "9"
        assert len(names) == len(set(names))

    def test_an_agent_without_ports_is_told_of_none_and_has_no_service(self) -> None:
        assert not {"HOST", "PORT"} & environment(SUSPENDED).keys()
        assert "Service" not in bodies(SUSPENDED)

    def test_its_files_are_mounted_read_only_and_the_rest_of_the_disk_is_read_only_too(self) -> None:
        mounts = {mount["mountPath"]: mount for mount in container(FULL)["volumeMounts"]}
        assert mounts["/etc/agent"]["readOnly"] is True
        assert "readOnly" not in mounts["/tmp"]
        assert container(FULL)["securityContext"]["readOnlyRootFilesystem"] is True

    def test_what_it_is(self) -> None:
        told = json.loads(bodies(FULL)["ConfigMap"]["data"]["agent.json"])
        assert told["modelConfig"] == {
            "provider": "anthropic",
            "model": "claude-sonnet-4-5",
            "baseUrl": "https://models.example",
            "parameters": {"temperature": 0.5},
            "apiKeyEnv": "MODEL_API_KEY",
        }
        assert told["systemMessage"] == "You sort support tickets.\n"
        assert told["tools"] == [
            {
                "mcpServer": {"name": "tickets", "toolNames": ["search", "tag"], "url": "http://mcp:80/"},
                "requireApproval": ["tag"],
            },
            {"agent": {"name": "support/knowledge"}},
        ]
        assert told["config"] == {"queues": {"billing": ["refund"]}, "ünïcode": True}
        assert "modelConfig" not in json.loads(bodies(PLAIN_AGENT)["ConfigMap"]["data"]["agent.json"])

    def test_its_card_has_all_that_a2a_1_0_requires(self) -> None:
        card = json.loads(bodies(FULL)["ConfigMap"]["data"]["agent-card.json"])
        assert card == agent_card(FULL)
        assert card == {
            "name": "triage",
            "description": "Sorts incoming tickets",
            "version": "1.4.2",
            "supportedInterfaces": [
                {"url": "http://triage.support.svc:8080/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
            ],
            "capabilities": {"streaming": False, "pushNotifications": False},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [
                {
                    "id": "triage",
                    "name": "Triage",
                    "description": "Sorts a ticket",
                    "tags": ["support"],
                    "examples": ["Help!"],
                }
            ],
        }
        assert agent_card(SUSPENDED)["supportedInterfaces"] == []

    def test_a_change_of_what_it_is_rolls_its_pods(self) -> None:
        def rolled(declared: Agent) -> str:
            template = bodies(declared)["Deployment"]["spec"]["template"]
            return str(template["metadata"]["annotations"][CONFIG_HASH_ANNOTATION])

        assert rolled(agent("a/one")) == rolled(agent("a/one", replicas=5))
        assert rolled(agent("a/one")) != rolled(agent("a/one", system_message="other"))


class TestIdentity:
    def test_labels_of_people_are_kept_and_never_beat_ours(self) -> None:
        declared = agent("a/one", labels={"team": "x", AGENT_LABEL: "forged", "app.kubernetes.io/name": "forged"})
        for body in bodies(declared, 2).values():
            labels = body["metadata"]["labels"]
            assert (labels["team"], labels[AGENT_LABEL], labels["app.kubernetes.io/name"]) == ("x", "one", "one")

    def test_the_tracking_annotation_cannot_be_forged(self) -> None:
        declared = agent("a/one", annotations={TRACKING_ANNOTATION: "x"})
        assert bodies(declared)["Service"]["metadata"]["annotations"][TRACKING_ANNOTATION] == "/Service:a/one:acme"

    def test_a_service_name_begins_with_a_letter(self) -> None:
        found = bodies(agent("a/4ever"), 2)
        assert found["Service"]["metadata"]["name"] == "a-4ever"
        assert found["Deployment"]["metadata"]["name"] == "4ever"
        assert found["Service"]["metadata"]["annotations"][TRACKING_ANNOTATION] == "/Service:a/a-4ever:acme"
        card = json.loads(found["ConfigMap"]["data"]["agent-card.json"])
        assert card["supportedInterfaces"][0]["url"] == "http://a-4ever.a.svc:8080/"

    @pytest.mark.parametrize(
        ("image", "version"),
        [
            ("ghcr.io/acme/triage:1.4.2", "1.4.2"),
            ("localhost:5000/triage", "latest"),
            ("triage@sha256:" + "0123456789abcdef" * 4, "0123456789ab"),
            ("triage:2@sha256:" + "ab" * 32, "2"),
        ],
    )
    def test_the_version_is_the_images(self, image: str, version: str) -> None:
        assert version_of(image) == version

    def test_long_or_odd_text_becomes_a_label_of_its_own(self) -> None:
        assert label_value("a b/c_") == "a-b-c"
        assert len(label_value("x" * 200)) <= 63
        assert label_value("x" * 200) != label_value("x" * 201)


class TestMemory:
    def test_the_same_is_rendered_once(self) -> None:
        renderer = Renderer("acme")
        where = placed({"local": 2})
        first = renderer.render(FULL, where)
        assert renderer.render(FULL, placed({"local": 2})) is first
        assert first == render(FULL, where, fleet="acme")

    def test_what_changed_is_rendered_anew(self) -> None:
        renderer = Renderer("acme")
        one, other = agent("a/one"), agent("a/one", annotations={"x": "y"})
        first = renderer.render(one, placed({"local": 1}))
        assert renderer.render(one, placed({"local": 2})) != first
        assert renderer.render(other, placed({"local": 1})) != first
        assert renderer.render(agent("a/one", wave=3), placed({"local": 1})) == first

    def test_what_is_gone_is_forgotten(self) -> None:
        renderer = Renderer("acme")
        first = renderer.render(FULL, placed({"local": 1}))
        renderer.forget(frozenset({FULL.name, PLAIN_AGENT.name}))
        again = renderer.render(FULL, placed({"local": 1}))
        assert again == first
        assert again is not first


class TestExports:
    def test_a_service_is_exported_under_its_own_name_where_that_is_asked_for(self) -> None:
        declared = agent("a/1st", ports=(Port(name="http", port=8080),))
        rendered = render(declared, placed({"eu-1": 1, "us-1": 1}), fleet="acme", exported=frozenset({"us-1"}))
        assert "ServiceExport" not in {manifest.ref.kind for manifest in rendered["eu-1"]}
        by_kind = {manifest.ref.kind: manifest for manifest in rendered["us-1"]}
        assert by_kind["ServiceExport"].ref.name == by_kind["Service"].ref.name == "a-1st"
        assert by_kind["ServiceExport"].body["apiVersion"] == "multicluster.x-k8s.io/v1alpha1"
        assert "spec" not in by_kind["ServiceExport"].body

    def test_an_agent_without_a_service_has_nothing_to_export(self) -> None:
        rendered = render(agent("a/one", ports=()), placed({"eu-1": 1}), fleet="acme", exported=frozenset({"eu-1"}))
        assert "ServiceExport" not in {manifest.ref.kind for manifest in rendered["eu-1"]}

    def test_a_renderer_sees_that_an_export_comes_and_goes(self) -> None:
        renderer, where = Renderer(fleet="acme"), placed({"eu-1": 1})
        plain = renderer.render(FULL, where)
        exported = renderer.render(FULL, where, frozenset({"eu-1"}))
        assert len(exported["eu-1"]) == len(plain["eu-1"]) + 1
        assert renderer.render(FULL, where) == plain
