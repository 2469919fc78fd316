"""One health sweep: what it asks of whom, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.engine.podseen import PodSaid
from reconciler.engine.reconcile import PlanningCache, declare
from reconciler.engine.seen import Memory
from reconciler.engine.sweep import sweep
from reconciler.engine.world import Stores
from reconciler.model.agent import Agent
from reconciler.model.health import Assessment, HealthState, HttpProbe, PluginProbe
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import PORTS_ANNOTATION, Found, LiveSet, Observation, Scope, Unreadable
from tests.doubles.prober import TableProber
from tests.engine.fleets import agent, applied

TRIAGE = AgentName.parse("support/triage")
CHECKED = """\
  ports: [{name: http, port: 8080}]
  resources: {limits: {memory: 100Mi, cpu: "1"}}
  health:
    checks:
      - {name: answers, connectivity: {http: {path: /healthz, port: http}, timeout: 1s}}
      - {name: memory, resources: {memory: 90%}}
"""


async def agents_of(world: Any) -> Mapping[AgentName, Agent]:
    revision = await world.source.revision("")
    return (await declare(world, revision, PlanningCache())).agents


def add_pod(
    world: Any, name: str = "triage", number: int = 1, *, ready: bool = True, restarts: int = 0, ports: Any = None
) -> ObjectRef:
    """A pod as a kubelet reports it."""
    ref = ObjectRef(group="", kind="Pod", namespace="support", name=f"{name}-{number}")
    annotations = {PORTS_ANNOTATION: json.dumps(ports)} if ports else {}
    limits = {"memory": "100Mi", "cpu": "1"}
    world.cluster._store.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": ref.name,
                "namespace": "support",
                "labels": {"agents.codevald.io/agent": name},
                "annotations": annotations,
            },
            "spec": {"containers": [{"name": "agent", "image": "a:1", "resources": {"limits": limits}}]},
        },
        manager="controller",
    )
    status = {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [{"name": "agent", "ready": ready, "restartCount": restarts, "state": {"running": {}}}],
    }
    world.cluster._store.patch_status(ref, status, manager="kubelet")
    return ref


async def test_pods_are_probed_where_they_really_listen(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world, ports={"8080": 41234})
    prober = TableProber()
    found = await sweep(await world.stores(None), await agents_of(world), prober, world.clock, previous={})
    assert prober.asked == [HttpProbe(host="10.0.0.7", port=41234, path="/healthz", timeout_ms=1000)]
    assessment = found.assessments[TRIAGE]
    assert (assessment.state, assessment.is_healthy) == (HealthState.HEALTHY, True)


async def test_pods_whose_addresses_lead_elsewhere_are_not_probed(world, monkeypatch):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world)
    monkeypatch.setattr(type(world.cluster), "reaches_pods", False)
    prober = TableProber(lambda _request: "answers 404")
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, prober, world.clock, previous={}, at_once=True)
    assert prober.asked == []
    assert found.out_of_reach == {"local"}
    checks = {check.name: check.state for check in found.assessments[TRIAGE].checks}
    assert checks["answers"] is HealthState.UNKNOWN
    assert found.assessments[TRIAGE].is_healthy, "its pod is ready"


async def test_a_failing_probe_counts_at_once_when_a_person_asks_now(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world)
    prober = TableProber(lambda _request: "connection refused")
    stores, agents = await world.stores(None), await agents_of(world)
    slow = await sweep(stores, agents, prober, world.clock, previous={})
    assert slow.assessments[TRIAGE].state is not HealthState.UNHEALTHY
    now = await sweep(stores, agents, prober, world.clock, previous={}, at_once=True)
    assert now.assessments[TRIAGE].state is HealthState.UNHEALTHY
    assert "connection refused" in now.assessments[TRIAGE].checks[0].text


async def test_hysteresis_goes_from_sweep_to_sweep(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world)
    prober = TableProber(lambda _request: "no answer")
    stores, agents = await world.stores(None), await agents_of(world)
    previous: dict[AgentName, Assessment] = {}
    for _number in range(3):
        previous = dict((await sweep(stores, agents, prober, world.clock, previous=previous)).assessments)
    assert previous[TRIAGE].state is HealthState.UNHEALTHY
    assert previous[TRIAGE].requires_recovery


async def test_a_dependency_that_is_unwell_is_named_as_the_cause(world):
    world.commit(base=agent("base", CHECKED), triage=agent("triage", CHECKED + "  dependsOn: [support/base]\n"))
    await applied(world)
    add_pod(world, "base")
    add_pod(world, "triage")
    prober = TableProber(lambda _request: "no answer")
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, prober, world.clock, previous={}, at_once=True)
    assert found.assessments[TRIAGE].upstream == (AgentName.parse("support/base"),)
    assert not found.assessments[TRIAGE].requires_recovery


async def test_a_dependency_that_has_only_begun_to_fail_puts_off_the_blame(world):
    first = CHECKED.replace("health:\n", "health:\n    failureThreshold: 1\n")
    world.commit(base=agent("base", CHECKED), triage=agent("triage", first + "  dependsOn: [support/base]\n"))
    await applied(world)
    add_pod(world, "base")
    add_pod(world, "triage")
    prober = TableProber(lambda _request: "no answer")
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, prober, world.clock, previous={})
    assessment = found.assessments[TRIAGE]
    assert assessment.state is HealthState.UNHEALTHY
    assert assessment.upstream == (), "the base is not called unwell yet"
    assert not assessment.requires_recovery, "but it may be what is wrong"


async def test_each_dependency_is_probed_once_however_many_share_it(world):
    others = {f"user-{number}": agent(f"user-{number}", "  dependsOn: [support/base]\n") for number in range(5)}
    world.commit(base=agent("base", CHECKED), **others)
    await applied(world)
    add_pod(world, "base")
    prober = TableProber(lambda _request: "no answer")
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, prober, world.clock, previous={}, at_once=True)
    assert len(prober.asked) == 1
    assert {one.upstream for name, one in found.assessments.items() if name.name != "base"} == {
        (AgentName.parse("support/base"),)
    }


async def test_a_cluster_that_cannot_be_read_says_nothing_against_its_agents(world):
    world.commit(triage=agent("triage", CHECKED))
    agents = await agents_of(world)
    stores = Stores(registry=world.registry, clusters={"local": Unreadable(reason="it is away")})
    found = await sweep(stores, agents, TableProber(), world.clock, previous={}, at_once=True)
    assert found.unreadable == {"local": "it is away"}
    assert found.assessments[TRIAGE].state is HealthState.UNKNOWN


@pytest.mark.parametrize("where", ["support", ""], ids=["in its namespace", "everywhere"])
async def test_pods_that_cannot_be_listed_are_not_pods_that_are_not_there(world, monkeypatch, where):
    world.commit(triage=agent("triage", "  replicas: 2\n"))
    await applied(world)
    observe = world.cluster.observe

    async def observed(scope: Scope) -> Observation[LiveSet]:
        found = await observe(scope)
        assert isinstance(found, Found)
        return Found(replace(found.value, unreadable={("Pod", where): "a proxy gave up"}))

    monkeypatch.setattr(world.cluster, "observe", observed)
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, TableProber(), world.clock, previous={}, at_once=True)
    assert found.assessments[TRIAGE].state is HealthState.UNKNOWN
    assert not found.assessments[TRIAGE].requires_recovery


async def test_what_cannot_be_listed_elsewhere_says_nothing_of_an_agent(world, monkeypatch):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world)
    observe = world.cluster.observe

    async def observed(scope: Scope) -> Observation[LiveSet]:
        found = await observe(scope)
        assert isinstance(found, Found)
        return Found(replace(found.value, unreadable={("Pod", "sales"): "a proxy gave up"}))

    monkeypatch.setattr(world.cluster, "observe", observed)
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, TableProber(), world.clock, previous={}, at_once=True)
    assert found.assessments[TRIAGE].state is HealthState.HEALTHY


async def test_pods_that_are_not_ready_are_a_matter_of_lifecycle(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world, ready=False)
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, TableProber(), world.clock, previous={}, at_once=True)
    assert found.assessments[TRIAGE].state is HealthState.UNHEALTHY
    assert found.assessments[TRIAGE].critical


async def test_a_port_mapping_that_cannot_be_read_is_left_aside(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world, ports=["odd"])
    prober = TableProber()
    await sweep(await world.stores(None), await agents_of(world), prober, world.clock, previous={})
    assert [request.port for request in prober.asked if isinstance(request, HttpProbe)] == [8080]


async def test_a_plugin_is_asked_once_for_all_pods_and_says_how_the_agent_is(world):
    plugged = CHECKED + "      - {name: queue, plugin: {name: queue, config: {most: 5}}}\n"
    world.commit(triage=agent("triage", plugged))
    await applied(world)
    add_pod(world, number=1)
    add_pod(world, number=2)
    well: list[bool] = []
    prober = TableProber(lambda request: "" if well or not isinstance(request, PluginProbe) else "9 wait")
    stores, agents = await world.stores(None), await agents_of(world)
    found = await sweep(stores, agents, prober, world.clock, previous={}, at_once=True)
    (asked,) = [request for request in prober.asked if isinstance(request, PluginProbe)]
    assert (asked.plugin, asked.agent, asked.config) == ("queue", TRIAGE, {"most": 5})
    assert [endpoint.pod for endpoint in asked.endpoints] == ["triage-1", "triage-2"]
    checks = {check.name: check for check in found.assessments[TRIAGE].checks}
    assert (checks["queue"].state, checks["queue"].text) == (HealthState.UNHEALTHY, "9 wait")
    assert found.assessments[TRIAGE].requires_recovery
    well.append(True)
    found = await sweep(stores, agents, prober, world.clock, previous={}, at_once=True)
    assert {check.name: check.text for check in found.assessments[TRIAGE].checks}["queue"] == (
        "plugin queue finds it well"
    )


async def test_a_pod_is_seen_as_it_is_now_whatever_is_remembered_of_it(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    ref = add_pod(world, ports={"8080": 41234})
    stores, agents, prober = await world.stores(None), await agents_of(world), TableProber()
    memory = Memory(clock=world.clock)
    for _again in range(2):
        found = await sweep(stores, agents, prober, world.clock, previous={}, memory=memory)
        assert found.assessments[TRIAGE].checks[-1].text == "1 of 1 pods ready"
    assert prober.asked[0] is prober.asked[1], "what does not change is worked out once"
    moved = {"phase": "Running", "podIP": "10.0.0.8", "conditions": [{"type": "Ready", "status": "False"}]}
    world.cluster._store.patch_status(ref, moved, manager="kubelet")
    found = await sweep(stores, agents, prober, world.clock, previous={}, memory=memory, at_once=True)
    assert found.assessments[TRIAGE].checks[-1].text == "0 of 1 pods ready"
    last = prober.asked[-1]
    assert isinstance(last, HttpProbe)
    assert last.host == "10.0.0.8"


async def test_what_is_remembered_of_pods_goes_with_them(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    ref = add_pod(world)
    stores, agents, memory = await world.stores(None), await agents_of(world), Memory(clock=world.clock)
    await sweep(stores, agents, TableProber(), world.clock, previous={}, memory=memory)
    assert any(isinstance(said, PodSaid) for kept in memory._said.values() for said in kept.values())
    world.cluster._store.delete(ref)
    found = await sweep(stores, agents, TableProber(), world.clock, previous={}, memory=memory)
    assert found.assessments[TRIAGE].checks[0].text == "not measured"
    assert not any(isinstance(said, PodSaid) for kept in memory._said.values() for said in kept.values())


async def test_what_changed_of_an_agent_is_asked_at_the_pods_that_stayed(world):
    world.commit(triage=agent("triage", CHECKED))
    await applied(world)
    add_pod(world)
    stores, prober, memory = await world.stores(None), TableProber(), Memory(clock=world.clock)
    await sweep(stores, await agents_of(world), prober, world.clock, previous={}, memory=memory)
    world.commit(triage=agent("triage", CHECKED.replace("/healthz", "/livez")))
    await sweep(stores, await agents_of(world), prober, world.clock, previous={}, memory=memory)
    assert [one.path for one in prober.asked if isinstance(one, HttpProbe)] == ["/healthz", "/livez"]


async def test_of_an_agent_of_which_nothing_is_there_nobody_says_that_it_is_well(world):
    world.commit(triage=agent("triage", CHECKED))
    found = await sweep(
        await world.stores(None), await agents_of(world), TableProber(), world.clock, previous={}, at_once=True
    )
    assert found.assessments[TRIAGE].state is HealthState.UNKNOWN
    assert not found.assessments[TRIAGE].is_healthy
