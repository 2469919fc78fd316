"""Which pods can fail a rollout early: those that it brings up, not those that were there before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from reconciler.adapters.embedded.unrun import ready_status
from reconciler.engine.passes import apply_plan
from reconciler.model.events import ChangeFinished, Outcome, RolloutProgress
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import AnyState, Found, LiveObject, LiveSet, LogOptions, Observation, Scope
from tests.doubles.never_ready import NEVER_READY
from tests.engine.fleets import OPTIONS, agent, applied, finished, plan_of, record

TRIAGE = ObjectRef(group="apps", kind="Deployment", namespace="support", name="triage")
CRASHED = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}


async def deployment(world: Any) -> LiveObject:
    answer: Observation[LiveObject] = await world.cluster.get(TRIAGE)
    assert isinstance(answer, Found)
    return answer.value


async def add_crashing_pod(world: Any, name: str = "triage-1") -> None:
    """A pod of the present template whose process has ended again and again, as a kubelet reports it."""
    live = await deployment(world)
    ref = ObjectRef(group="", kind="Pod", namespace="support", name=name)
    template = live.body["spec"]["template"]
    metadata = {**template["metadata"], "name": name, "namespace": "support"}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    world.cluster._store.create(body, manager="controller")
    last = {"terminated": {"exitCode": 3, "reason": "Error"}}
    container = {"name": "agent", "ready": False, "restartCount": 4, "state": CRASHED, "lastState": last}
    world.cluster._store.patch_status(ref, {"phase": "Running", "containerStatuses": [container]}, manager="kubelet")


async def become_ready(world: Any) -> None:
    status = ready_status((await deployment(world)).body)
    world.cluster._store.patch_status(TRIAGE, status, manager="embedded-controller")


async def rolled_out(world: Any, meanwhile: Callable[[Any], Any]) -> ChangeFinished:
    """Apply what is planned; `meanwhile` happens once it is under way."""
    told: list[RolloutProgress] = []
    async for event in apply_plan(world, await plan_of(world), options=OPTIONS, stop=asyncio.Event()):
        if isinstance(event, RolloutProgress) and not told:
            told.append(event)
            await meanwhile(world)
        if isinstance(event, ChangeFinished):
            return event
    raise AssertionError("nothing was changed")


@pytest.fixture
async def crashing(world, monkeypatch):
    """An agent with a pod that crashes already; from now on only tests say when a rollout is ready."""
    world.commit(triage=agent("triage", "  replicas: 2\n", image="a:1"))
    await applied(world)
    await add_crashing_pod(world)
    monkeypatch.setattr("tests.doubles.never_ready.SILENT", "a:")
    return world


@pytest.mark.parametrize(
    ("replicas", "image"), [(4, "a:1"), (2, "a:2")], ids=["of the same template", "of the old template"]
)
async def test_a_pod_that_was_there_before_fails_no_rollout(crashing, replicas, image):
    crashing.commit(triage=agent("triage", f"  replicas: {replicas}\n", image=image))
    assert (await rolled_out(crashing, become_ready)).outcome is Outcome.APPLIED


async def test_a_pod_that_was_there_before_is_named_when_the_time_is_over(crashing):
    crashing.commit(triage=agent("triage", "  replicas: 4\n  rollout: {timeout: 20s}\n", image="a:1"))

    async def nothing(_world: Any) -> None:
        return None

    event = await rolled_out(crashing, nothing)
    assert "not ready after 20 s" in event.reason
    assert "pod triage-1: CrashLoopBackOff" in event.reason


async def test_a_pod_of_the_rollout_that_ends_again_and_again_fails_it_at_once(crashing):
    crashing.commit(triage=agent("triage", "  replicas: 2\n  rollout: {timeout: 1h}\n", image="a:2"))

    async def crash(world: Any) -> None:
        await add_crashing_pod(world, "triage-2")

    event = await rolled_out(crashing, crash)
    assert "pod triage-2: CrashLoopBackOff" in event.reason
    assert "not ready after" not in event.reason.split(";")[0]


async def test_what_a_crashed_process_wrote_is_told_though_it_was_started_again_since(crashing, monkeypatch):
    crashing.commit(triage=agent("triage", "  replicas: 2\n  rollout: {timeout: 1h}\n", image="a:2"))

    async def logs(_pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        if options.previous:
            yield "no such module"

    async def crash(world: Any) -> None:
        monkeypatch.setattr(world.cluster, "logs", logs)
        await add_crashing_pod(world, "triage-2")

    assert "no such module" in (await rolled_out(crashing, crash)).reason


@pytest.fixture
async def rolling(world, monkeypatch):
    """An agent that runs; from now on only tests say when a rollout is ready."""
    world.commit(triage=agent("triage", image="a:1"))
    await applied(world)
    monkeypatch.setattr("tests.doubles.never_ready.SILENT", "a:")
    return world


async def test_a_deadline_that_the_rollout_before_missed_fails_no_other(rolling, monkeypatch):
    rolling.commit(triage=agent("triage", image="a:2"))

    async def missed(world: Any) -> None:
        live, now, sleep = await deployment(world), world.fake.monotonic(), world.fake.sleep
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}
        status = {"observedGeneration": live.metadata["generation"], "replicas": 1, "conditions": [late]}
        world.cluster._store.patch_status(TRIAGE, status, manager="embedded-controller")

        async def slept(seconds: float) -> None:
            await sleep(seconds)
            if world.fake.monotonic() - now > 1.0:
                await become_ready(world)

        monkeypatch.setattr(world.fake, "sleep", slept)

    event = await rolled_out(rolling, missed)
    assert event.outcome is Outcome.APPLIED, event.reason


async def test_pods_of_a_rollout_that_was_cut_short_fail_no_other(rolling):
    """What a corrected spec is there to replace is not evidence against it, though both are of the same image."""
    stop = asyncio.Event()
    rolling.commit(triage=agent("triage", "  rollout: {timeout: 1h}\n", image="a:2"))
    async for event in apply_plan(rolling, await plan_of(rolling), options=OPTIONS, stop=stop):
        if isinstance(event, RolloutProgress):
            stop.set()
    await add_crashing_pod(rolling, "triage-2")
    mended = "  rollout: {timeout: 1h, terminationGrace: 7s}\n"
    rolling.commit(triage=agent("triage", mended, image="a:2"))
    event = await rolled_out(rolling, become_ready)
    assert event.outcome is Outcome.APPLIED, event.reason


async def test_nothing_is_taken_back_for_what_a_stale_copy_says(rolling, monkeypatch):
    rolling.commit(triage=agent("triage", "  rollout: {timeout: 20s}\n", image="a:2"))

    async def stale(world: Any) -> None:
        observe = world.cluster.observe
        one = Scope(
            kinds=(("apps", "v1", "Deployment"),), namespaces=frozenset({"support"}), names=frozenset({"triage"})
        )
        before = await observe(one)
        await become_ready(world)

        async def old(scope: Scope) -> Observation[LiveSet]:
            answer: Observation[LiveSet] = before if scope.names else await observe(scope)
            return answer

        monkeypatch.setattr(world.cluster, "observe", old)

    event = await rolled_out(rolling, stale)
    assert event.outcome is Outcome.APPLIED, event.reason


async def test_a_deployment_that_is_deleted_while_it_rolls_out_is_made_again(rolling, monkeypatch):
    rolling.commit(triage=agent("triage", "  rollout: {timeout: 60s}\n", image="a:2"))

    async def vanish(world: Any) -> None:
        await world.cluster.delete(TRIAGE, AnyState())
        monkeypatch.setattr("tests.doubles.never_ready.SILENT", "silent")

    event = await rolled_out(rolling, vanish)
    assert event.outcome is Outcome.APPLIED, event.reason
    assert (await record(rolling, "support/triage")).quarantine is None
    assert await rolling.registry.open_journal() == ()


async def test_a_deployment_that_is_another_one_while_it_rolls_out_is_made_ours_again(rolling, monkeypatch):
    rolling.commit(triage=agent("triage", "  rollout: {timeout: 60s}\n", image="a:2"))

    async def replaced(world: Any) -> None:
        body = {key: value for key, value in (await deployment(world)).body.items() if key != "status"}
        kept = {key: body["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
        await world.cluster.delete(TRIAGE, AnyState())
        world.cluster._store.create({**body, "metadata": kept}, manager="kubectl-replace")
        monkeypatch.setattr("tests.doubles.never_ready.SILENT", "silent")

    event = await rolled_out(rolling, replaced)
    assert event.outcome is Outcome.APPLIED, event.reason
    assert (await record(rolling, "support/triage")).quarantine is None


async def test_a_deployment_that_is_deleted_on_the_way_back_is_made_again_by_the_next_apply(rolling, monkeypatch):
    rolling.commit(triage=agent("triage", "  rollout: {timeout: 60s}\n", image=f"b:{NEVER_READY}"))
    told = 0
    async for event in apply_plan(rolling, await plan_of(rolling), options=OPTIONS, stop=asyncio.Event()):
        told += isinstance(event, RolloutProgress)
        if told == 2:  # the first is of the rollout that failed
            await rolling.cluster.delete(TRIAGE, AnyState())
        if isinstance(event, ChangeFinished):
            assert event.outcome is Outcome.FAILED
            assert "was deleted while it rolled out" in event.reason
    (entry,) = await rolling.registry.open_journal()
    assert entry.detail["step"] == "roll-back"
    monkeypatch.setattr("tests.doubles.never_ready.SILENT", "silent")
    assert finished(await applied(rolling))["support/triage"].outcome is Outcome.ROLLED_BACK
    assert (await deployment(rolling)).body["spec"]["template"]["spec"]["containers"][0]["image"] == "a:1"
    assert await rolling.registry.open_journal() == ()
