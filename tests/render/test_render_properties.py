"""What holds for every agent: valid fields and names, selectors that never change, no values of secrets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.agent import (
    Agent,
    DeploymentShape,
    Disruption,
    EnvVar,
    HttpTarget,
    ModelConfig,
    Port,
    Probe,
    Probes,
    SecretRef,
    TcpTarget,
)
from reconciler.model.registry import PlacedReplicas
from reconciler.model.units import Duration, Quantity
from reconciler.render import canonical, render
from reconciler.render.metadata import label_value
from tests.placement.builders import agent, resources, rule, scaling
from tests.render.shapes import LABEL_VALUE, check
from tests.searching import at_most

patient = settings(max_examples=at_most(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?", fullmatch=True)
quantities = st.sampled_from(["100m", "1000m", "1.50", "0.5Gi", "1024Mi", "1e3", "0.1Gi", "2E", "0", ".5"])
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
durations = st.integers(0, 10**7).map(Duration.of_ms)
env_names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)
secrets = st.builds(SecretRef, name=names, key=st.sampled_from(["key", "token"]))
variables = st.builds(EnvVar, name=env_names, value=words) | st.builds(EnvVar, name=env_names, secret=secrets)
probes = st.builds(
    Probe,
    target=st.sampled_from([HttpTarget(path="/", port="p0"), TcpTarget(port=8080)]),
    period=durations,
    timeout=durations,
    initial_delay=durations,
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    ports = draw(st.lists(st.integers(1, 65534), unique=True, min_size=1, max_size=3))
    spec: dict[str, Any] = {
        "description": draw(words),
        "image": draw(st.sampled_from(["a", "a:1", "r:5000/a@sha256:00ff", "a:" + "v" * 120, "a:_-."])),
        "command": tuple(draw(st.lists(words.filter(bool), max_size=2))),
        "args": tuple(draw(st.lists(words, max_size=2))),
        "env": tuple(draw(st.lists(variables, unique_by=lambda variable: variable.name, max_size=4))),
        "resources": resources(
            draw(st.dictionaries(st.sampled_from(["cpu", "memory"]), quantities)),
            draw(st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), quantities)),
        ),
        "ports": tuple(Port(name=f"p{index}", port=number) for index, number in enumerate(ports)),
        "probes": Probes(readiness=draw(st.none() | probes), liveness=draw(st.none() | probes)),
        "disruption": draw(
            st.none() | st.sampled_from([Disruption(min_available=1), Disruption(max_unavailable="10%")])
        ),
        "autoscaling": draw(st.none() | st.just(scaling(1, 4))),
        "placement": rule(draw(st.sampled_from(["all", "spread"]))),
        "system_message": draw(words),
        "config": draw(st.dictionaries(words, st.none() | st.booleans() | st.integers(0, 9) | words, max_size=3)),
    }
    if draw(st.booleans()):
        secret = draw(st.none() | secrets)
        spec["model_config"] = ModelConfig(provider="p", model=draw(words), secret=secret)
    return spec


shapes = st.builds(
    DeploymentShape,
    selector=st.sampled_from([{}, {"app": "web"}, {"app.kubernetes.io/name": "theirs", "team": "them"}]),
    container=st.sampled_from(["", "main"]),
    service_account=st.sampled_from(["", "default", "robots.v1"]),
    run_as_user=st.none() | st.integers(1, 2**31 - 1),
    as_found=st.booleans(),
)


@st.composite
def agents(draw: st.DrawFn) -> Agent:
    labels = draw(st.dictionaries(st.sampled_from(["team", "tier", "app.kubernetes.io/name"]), names))
    spec = draw(specs())
    if draw(st.booleans()):
        spec["deployment"] = draw(shapes)
        first, *rest = spec["ports"]
        spec["ports"] = (replace(first, service_port=draw(st.sampled_from([None, 65535]))), *rest)
    return agent(f"{draw(names)}/{draw(names)}", labels=labels, **spec)


def shares(*counts: int) -> tuple[PlacedReplicas, ...]:
    return tuple(PlacedReplicas(cluster=f"c{index}", replicas=count) for index, count in enumerate(counts))


def everything(declared: Agent, *counts: int, fleet: str = "acme") -> list[Any]:
    rendered = render(declared, shares(*counts), fleet=fleet)
    return [json.loads(canonical(manifest.body)) for manifests in rendered.values() for manifest in manifests]


@patient
@given(agents(), st.integers(0, 5), st.integers(0, 5))
def test_every_object_is_one_that_a_strict_server_takes_and_keeps_as_it_is(declared: Agent, one: int, two: int) -> None:
    for body in everything(declared, one, two):
        assert check(body, as_found=declared.spec.as_found) == []


@patient
@given(agents(), st.integers(0, 5))
def test_equal_agents_give_equal_bytes(declared: Agent, count: int) -> None:
    again = replace(declared, labels=dict(reversed(list(declared.labels.items()))))
    one, other = (render(each, shares(count), fleet="acme")["c0"] for each in (declared, again))
    assert [manifest.hash for manifest in one] == [manifest.hash for manifest in other]
    assert [canonical(manifest.body) for manifest in one] == [canonical(manifest.body) for manifest in other]


@patient
@given(names, names, specs(), specs(), st.dictionaries(names, names, max_size=2))
def test_selectors_and_names_survive_every_change_of_a_spec(
    namespace: str, name: str, before: dict[str, Any], after: dict[str, Any], labels: dict[str, str]
) -> None:
    def identity(declared: Agent, fleet: str) -> list[Any]:
        found = []
        for body in everything(declared, 2, fleet=fleet):
            if body["kind"] != "HorizontalPodAutoscaler":
                selector = body.get("spec", {}).get("selector")
                found.append((body["kind"], body["metadata"]["name"], selector))
        return found

    one = identity(agent(f"{namespace}/{name}", **before), "acme")
    other = identity(agent(f"{namespace}/{name}", labels=labels, **after), "acme-two")
    assert one == other
    for kind, _, selector in one:
        if kind == "Service":
            assert selector == {"agents.codevald.io/agent": name}


@patient
@given(agents())
def test_pods_carry_what_selectors_ask_for(declared: Agent) -> None:
    by_kind = {body["kind"]: body for body in everything(declared, 2)}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        by_kind["Deployment"]["spec"]["selector"]["matchLabels"],
        by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        by_kind["Service"]["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
        assert "app.kubernetes.io/version" not in selector


@patient
@given(agents())
def test_secrets_are_only_ever_named(declared: Agent) -> None:
    """We hold references alone; the test is that nothing but a reference stands where a secret is used."""
    secret_names = {variable.name for variable in declared.spec.env if variable.secret}
    if declared.spec.model_config and declared.spec.model_config.secret:
        secret_names.add("MODEL_API_KEY")
    for body in everything(declared, 1):
        if body["kind"] == "Deployment":
            for entry in body["spec"]["template"]["spec"]["containers"][0]["env"]:
                if entry["name"] in secret_names and "value" in entry:
                    literal = [v for v in declared.spec.env if v.name == entry["name"] and v.value is not None]
                    assert literal, "a literal of the spec's own may hide ours, and nothing else may"
                if "valueFrom" in entry:
                    assert set(entry) == {"name", "valueFrom"}
                    assert set(entry["valueFrom"]["secretKeyRef"]) == {"name", "key"}
        assert body["kind"] != "Secret"


@patient
@given(st.text(max_size=300))
def test_any_text_becomes_a_label_value(text: str) -> None:
    assert LABEL_VALUE.match(label_value(text))


@patient
@given(quantities)
def test_quantities_keep_their_value_and_are_canonical_once(text: str) -> None:
    quantity = Quantity.parse(text)
    if not quantity.canonical().endswith(("u", "n")):
        again = Quantity.parse(quantity.canonical())
        assert again == quantity
        assert again.canonical() == quantity.canonical()
