"""The frozen spec that a file becomes, field by field, and what a placement's selector takes in."""

from __future__ import annotations

import pytest

from reconciler.model.agent import (
    ClusterSelector,
    Dimension,
    ExecTarget,
    Expression,
    GrpcTarget,
    HttpTarget,
    MetricType,
    PlacementPolicy,
    Remedy,
    TcpTarget,
)
from reconciler.model.fleet import ClusterDeclaration, EmbeddedCluster
from reconciler.model.identity import AgentName
from reconciler.spec.nearest import nearest
from reconciler.spec.validate import looks_secret, selects
from tests.spec.test_spec_schema import FULL_AGENT
from tests.spec.writing import API, agent, codes, read

ONE = AgentName(namespace="demo", name="one")
EVERYWHERE = (
    API
    + "kind: Fleet\nmetadata: {name: f}\nspec: {clusters: [{name: a, embedded: {}, labels: {region: eu, tier: a}}]}\n"
)
OTHERS = {
    "agents/support/knowledge.yaml": agent("{image: x}", name="knowledge"),
    "agents/demo/other.yaml": agent("{image: x}", name="other"),
    "fleet.yaml": EVERYWHERE,
}


def test_a_route_says_how_it_is_told_or_leaves_that_to_its_receiver() -> None:
    declaration = read({**OTHERS, "agents/demo/one.yaml": agent(FULL_AGENT.strip())})
    spec = next(iter(one.spec for one in declaration.agents.values() if one.spec.alerts))
    last = spec.alerts[-1]
    assert last.match == {"name": "AgentUnhealthy"}
    assert last.group_by == ("name", "labels.app.kubernetes.io/part-of")
    assert [str(one) for one in (last.wait, last.interval, last.repeat)] == ["0s", "5m", "12h"]
    assert (last.tells_ends, last.title, last.text) == (False, "$$ ${severity}: $name", "over: $alerts")
    assert (spec.alerts[0].group_by, spec.alerts[0].wait, spec.alerts[0].tells_ends) == (None, None, True)


def test_every_field_arrives() -> None:
    declaration = read({**OTHERS, "agents/demo/one.yaml": agent(FULL_AGENT.strip())})
    assert codes(declaration) == []
    spec = declaration.agents[ONE].spec
    assert spec.autoscaling is not None
    assert spec.replicas is None
    metrics = spec.autoscaling.metrics
    assert [metric.type for metric in metrics] == [
        *(MetricType.CPU, MetricType.CPU, MetricType.MEMORY),
        *(MetricType.PODS, MetricType.OBJECT, MetricType.EXTERNAL),
    ]
    assert [metric.utilization for metric in metrics[:3]] == [70, 70, None]
    assert (str(metrics[2].average), metrics[3].name, str(metrics[4].value)) == ("500Mi", "queue_depth", "3")
    assert metrics[4].object == {"apiVersion": "v1", "kind": "Service", "name": "s"}
    assert metrics[5].selector == {"queue": "q"}
    up, down = spec.autoscaling.scale_up, spec.autoscaling.scale_down
    assert up is not None
    assert down is not None
    assert [(policy.type, policy.value) for policy in up.policies] == [("Pods", 4), ("Percent", 100)]
    assert (down.select_policy, str(down.stabilization)) == ("Disabled", "5m")
    probes = spec.probes
    assert probes.startup is not None
    assert probes.readiness is not None
    assert probes.liveness is not None
    assert probes.startup.target == ExecTarget(command=("true-ish",))
    assert probes.readiness.target == HttpTarget(path="/healthz", port="http", scheme="HTTPS")
    assert probes.liveness.target == GrpcTarget(port=8080, service="s")
    checks = {check.name: check for check in spec.health.checks}
    assert [check.dimension for check in checks.values()] == [
        *(Dimension.CONNECTIVITY,) * 3,
        *(Dimension.PERFORMANCE, Dimension.RESOURCES, Dimension.CARD),
        *(Dimension.LIFECYCLE, Dimension.DEPENDENCIES, Dimension.PLUGIN),
    ]
    assert checks["b"].target == TcpTarget(port=8080)
    assert checks["c"].target == GrpcTarget(port="http")
    assert (checks["d"].error_rate, str(checks["d"].p99)) == (5, "2s")
    assert (checks["e"].cpu, checks["e"].memory, checks["e"].critical) == (90, 90, False)
    assert (checks["i"].plugin, checks["i"].config) == ("p", {"x": 1})
    assert spec.tools[0].tool_names == ("a",)
    assert (spec.tools[0].url, spec.tools[1].agent) == ("http://t", "ns/other")
    assert spec.recovery.ladder == tuple(Remedy)
    assert spec.env[1].secret is not None
    assert (spec.env[1].secret.name, spec.env[1].secret.key) == ("s.example.com", "k.e_y-1")
    assert spec.rollout.max_surge == "25%"
    assert spec.disruption is not None
    assert (spec.disruption.min_available, spec.disruption.max_unavailable) == ("50%", None)
    assert spec.placement.policy is PlacementPolicy.WEIGHTED
    assert spec.placement.clusters.match_expressions == (Expression(key="tier", operator="In", values=("a", "b")),)
    assert spec.depends_on == (
        AgentName(namespace="support", name="knowledge"),
        AgentName(namespace="demo", name="other"),
    )
    assert [route.receiver for route in spec.alerts] == ["slack", "pagerduty", "alertmanager", "email", "apprise"]
    assert spec.alerts[0].match == {"severity": "info", "namespace": "x", "labels.a": "b"}
    assert spec.model_config is not None
    assert spec.model_config.base_url == "https://x.example"
    assert (spec.protect, spec.adopt, spec.wave) == (True, True, 3)


CLUSTER = ClusterDeclaration(name="eu-1", backend=EmbeddedCluster(), labels={"region": "eu", "tier": "a"})


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        (ClusterSelector(everything=True), True),
        (ClusterSelector(), False),
        (ClusterSelector(names=("eu-1",)), True),
        (ClusterSelector(names=("us-1",)), False),
        (ClusterSelector(match_labels={"region": "eu"}), True),
        (ClusterSelector(match_labels={"region": "us"}), False),
        (ClusterSelector(names=("eu-1",), match_labels={"region": "us"}), False),
        (ClusterSelector(match_expressions=(Expression(key="tier", operator="In", values=("a",)),)), True),
        (ClusterSelector(match_expressions=(Expression(key="tier", operator="NotIn", values=("a",)),)), False),
        (ClusterSelector(match_expressions=(Expression(key="gpu", operator="NotIn", values=("a",)),)), True),
        (ClusterSelector(match_expressions=(Expression(key="tier", operator="Exists"),)), True),
        (ClusterSelector(match_expressions=(Expression(key="gpu", operator="Exists"),)), False),
        (ClusterSelector(match_expressions=(Expression(key="gpu", operator="DoesNotExist"),)), True),
    ],
)
def test_a_selector_takes_in_what_it_says_and_nothing_when_it_says_nothing(
    selector: ClusterSelector, taken: bool
) -> None:
    assert selects(selector, CLUSTER) is taken


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(
            (name, True)
            for name in ("TOKEN", "API_TOKEN", "apiKey", "dbPassword", "client-secret", "KEY", "aws.credentials")
        ),
        *((name, False) for name in ("KEYBOARD", "monkey", "tokens", "TOKENIZER", "LOG_LEVEL", "")),
    ],
)
def test_which_names_look_secret(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("bsae", ["base", "chat"], "base"),
        ("BASE", ["base"], "base"),
        ("zzz", ["base"], None),
        ("x", [], None),
        ("abc", ["abd", "aba"], "abd"),
    ],
)
def test_the_nearest_known_name(word: str, known: list[str], near: str | None) -> None:
    assert nearest(word, known) == near
