"""What happens to servers and accounts in the middle of an apply: rights, tokens, pauses, ends. The server is real."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.kubernetes import transport
from reconciler.engine.reconcile import compute_plan
from reconciler.model.events import ApplyEvent, ChangeFinished, Outcome
from reconciler.model.plan import Action, Policy
from tests.controlplane.plane import ControlPlane
from tests.doubles.fault_proxy import Exchange
from tests.faults.plane_fleets import Life
from tests.faults.plane_world import ACCOUNT, ACCOUNT_IN, RIGHTS, PlaneWorld

pytestmark = pytest.mark.controlplane
RBAC = "/apis/rbac.authorization.k8s.io/v1"
AGENTS = 4


class Middle:
    """A hook that does something once, before a numbered write is passed on; or does nothing before it comes."""

    def __init__(self, number: int, work: Callable[[], Awaitable[object]]) -> None:
        self._left, self._work = number, work
        self.done = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.writes and not self.done.is_set():
            self._left -= 1
            if self._left == 0:
                await self._work()
                self.done.set()


class Limited:
    """An account of one world: it may read everywhere, and write where a RoleBinding lets it."""

    def __init__(self, world: PlaneWorld) -> None:
        self.world = world
        self.plane = world.harness.plane
        self.name = f"limited-{world.namespace}"
        self.path = f"{RBAC}/namespaces/{world.namespace}/rolebindings"
        self.token = ""

    def prepare(self) -> None:
        plane = self.plane
        plane.api.json("POST", f"/api/v1/namespaces/{ACCOUNT_IN}/serviceaccounts", {"metadata": {"name": self.name}})
        reading = [{**rule, "verbs": ["get", "list", "watch"]} for rule in RIGHTS["rules"]]
        for rule in reading:
            rule["resources"] = [one for one in rule["resources"] if one != "services"]
        services = {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]}
        for name, rules in ((self.name, reading), (f"{self.name}-services", [services])):
            plane.api.json("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
            self.bind_everywhere(name)
        self.give()
        self.token = plane.service_account_token(ACCOUNT_IN, self.name)

    def _binding(self, name: str, role: str) -> Any:
        subject = {"kind": "ServiceAccount", "name": self.name, "namespace": ACCOUNT_IN}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        return {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}

    def bind_everywhere(self, role: str) -> None:
        """Let it do everywhere what a role says."""
        self.plane.api.json("POST", f"{RBAC}/clusterrolebindings", self._binding(role, role))

    def unbind(self, role: str) -> None:
        self.plane.api.json("DELETE", f"{RBAC}/clusterrolebindings/{role}")

    def give(self) -> None:
        """Let it write in its namespace."""
        self.plane.api.json("POST", self.path, self._binding(self.name, "fault-harness"))

    def take(self) -> None:
        """Let it write no more."""
        self.plane.api.json("DELETE", f"{self.path}/{self.name}")

    def wait_until(self, allowed: bool, verb: str, resource: str) -> None:
        """Wait until the server knows: rights come to it by a watch."""
        path = self.world.harness.kubeconfig(None, {"token": self.token})
        self.plane.wait_for(
            f"{verb} {resource} being {allowed}",
            lambda: self.plane.allowed(verb, resource, self.world.namespace, kubeconfig=path) is allowed,
        )

    async def taking(self) -> None:
        await asyncio.to_thread(self.take)
        await asyncio.to_thread(self.wait_until, False, "patch", "deployments")

    async def giving(self) -> None:
        await asyncio.to_thread(self.give)
        await asyncio.to_thread(self.wait_until, True, "patch", "deployments")

    def clean(self) -> None:
        for name in (self.name, f"{self.name}-services"):
            self.plane.kubectl("delete", "clusterrolebinding,clusterrole", name, "--ignore-not-found")
        self.plane.kubectl("-n", ACCOUNT_IN, "delete", "serviceaccount", self.name)


@pytest.fixture
async def limited(world: PlaneWorld) -> AsyncIterator[Limited]:
    made = Limited(world)
    await asyncio.to_thread(made.prepare)
    world.kubeconfig = world.harness.kubeconfig(world.proxy, {"token": made.token})
    yield made
    await asyncio.to_thread(made.clean)


def outcomes(events: list[ApplyEvent]) -> dict[str, ChangeFinished]:
    return {event.agent.name: event for event in events if isinstance(event, ChangeFinished)}


ALL = [(phase, number) for phase in ("create", "update", "delete") for number in (1, 2, 5, 9, 14)]
SOME = [("create", 9), ("update", 5), ("delete", 2)]


@pytest.mark.parametrize(("phase", "number"), ALL if os.environ.get("RECONCILER_ALL_FAULTS") else SOME)
async def test_rights_that_are_taken_away_in_the_middle_stop_what_needs_them_and_no_more(
    world: PlaneWorld, limited: Limited, phase: str, number: int, record_property
):
    life = Life(world, AGENTS)
    phases = [*life.phases()]
    for before in phases[: phases.index(phase)]:
        life.commit(before)
        await world.passes_until_quiet()
    await life.judge() if life.wanted else None
    life.commit(phase)
    middle = world.proxy.before = Middle(number, limited.taking)
    async with world.process() as process:
        events = outcomes(await world.applied(process))
    world.proxy.be_well()
    if middle.done.is_set():
        stopped = [event for event in events.values() if event.outcome is Outcome.FAILED]
        assert stopped
        assert {event.text for event in stopped} == {"not finished"}
        assert all("grant it in RBAC" in event.reason for event in stopped)
        async with world.process() as process:  # it is told again, as long as it is so, and nothing is undone
            again = outcomes(await world.applied(process))
        assert {event.outcome for event in again.values()} <= {Outcome.FAILED, Outcome.APPLIED}
        await limited.giving()
    async with world.process() as process:
        assert all(event.outcome is Outcome.APPLIED for event in outcomes(await world.applied(process)).values())
    assert await world.passes_until_quiet() == 0
    await life.judge()
    await life.settle()
    record_property("plane_events", 1)


async def test_what_may_not_be_read_is_not_deleted(world: PlaneWorld, limited: Limited, record_property):
    life = Life(world, AGENTS)
    life.commit("create")
    await world.passes_until_quiet()
    await life.judge()
    await asyncio.to_thread(limited.unbind, f"{limited.name}-services")
    await asyncio.to_thread(limited.take)
    await asyncio.to_thread(limited.wait_until, False, "list", "services")
    life.commit("delete")
    async with world.process() as process:
        plan = await compute_plan(process, policy=Policy())
        assert not [change for change in plan.changes if change.action is Action.DELETE]
        assert any("ervice" in hold.text for hold in plan.holds), plan.holds
        await world.applied(process)
    namespace = world.namespace
    await world.harness.ledger.settle(namespace)
    assert world.harness.ledger.gone(namespace) == {}
    await asyncio.to_thread(limited.bind_everywhere, f"{limited.name}-services")
    await asyncio.to_thread(limited.wait_until, True, "list", "services")
    await limited.giving()
    assert await world.passes_until_quiet() == 1
    await life.judge()
    await life.settle()
    record_property("plane_events", 1)


@pytest.mark.parametrize("number", [7])
async def test_a_token_that_ends_in_the_middle_is_replaced_by_the_one_that_is_there(
    world: PlaneWorld, tmp_path: Path, number: int, record_property
):
    """The server itself refuses the old one: the proxy passes it on as one of the same account that has ended."""
    harness = world.harness
    ended = await asyncio.to_thread(harness.plane.short_token, ACCOUNT_IN, ACCOUNT, -1.0)
    fresh = await asyncio.to_thread(harness.plane.service_account_token, ACCOUNT_IN, ACCOUNT)
    file = tmp_path / "token"
    file.write_text(harness.token)
    world.kubeconfig = harness.kubeconfig(world.proxy, {"tokenFile": str(file)})
    life = Life(world, AGENTS)

    async def end() -> None:
        world.proxy.exchange_tokens = {harness.token: ended}
        file.write_text(fresh)

    for phase in ("create", "update"):
        world.proxy.exchange_tokens = {}
        file.write_text(harness.token)
        life.commit(phase)
        middle = world.proxy.before = Middle(number, end)
        async with world.process() as process:
            events = outcomes(await world.applied(process))
        assert middle.done.is_set()
        assert {event.outcome for event in events.values()} == {Outcome.APPLIED}
        assert {harness.token, fresh} <= {exchange.token for exchange in world.proxy.seen}
        assert await world.passes_until_quiet() == 0
        await life.judge()
    await life.settle()
    record_property("plane_events", 2)


async def test_a_token_that_ends_for_good_stops_the_apply_and_the_next_one_goes_on(
    world: PlaneWorld, tmp_path: Path, record_property
):
    harness = world.harness
    ended = await asyncio.to_thread(harness.plane.short_token, ACCOUNT_IN, ACCOUNT, -1.0)
    life = Life(world, AGENTS)

    async def end() -> None:
        world.proxy.exchange_tokens = {harness.token: ended}

    life.commit("create")
    world.proxy.before = Middle(8, end)
    async with world.process() as process:
        events = outcomes(await world.applied(process))
    assert any("does not accept our credentials" in event.reason for event in events.values())
    assert {event.text for event in events.values() if event.outcome is not Outcome.APPLIED} == {"not finished"}
    assert await world.passes_until_quiet() == 1
    await life.judge()
    await life.settle()
    record_property("plane_events", 1)


async def ended_meanwhile(plane: ControlPlane, seconds: float) -> None:
    """Kill the API server, and start it again after a while."""
    await asyncio.to_thread(plane.kill_api_server)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(plane.start_api_server)


async def paused_meanwhile(plane: ControlPlane, seconds: float) -> None:
    plane.pause()
    await asyncio.sleep(seconds)
    plane.resume()


@pytest.mark.parametrize("seconds", [0.5, 4.0])
async def test_a_server_that_is_paused_in_the_middle(
    own_world: PlaneWorld, own_plane: ControlPlane, seconds: float, monkeypatch: pytest.MonkeyPatch, record_property
):
    """Shorter than our patience, or longer: then the effects of what was given up come later, and change nothing."""
    monkeypatch.setattr(transport, "REQUEST_S", 1.0)
    await lived_through(own_world, lambda: paused_meanwhile(own_plane, seconds))
    record_property("plane_events", 3)


async def test_a_server_that_is_killed_in_the_middle(own_world: PlaneWorld, own_plane: ControlPlane, record_property):
    await lived_through(own_world, lambda: ended_meanwhile(own_plane, 0.2))
    record_property("plane_events", 3)


async def lived_through(world: PlaneWorld, event: Callable[[], Awaitable[None]]) -> None:
    """Let something befall the server in the middle of three applies: each converges, and nothing is doubled."""
    life = Life(world, AGENTS)
    for phase, number in (("create", 9), ("update", 4), ("delete", 2)):
        life.commit(phase)
        under_way: list[asyncio.Task[None]] = []

        async def begin(under_way: list[asyncio.Task[None]] = under_way) -> None:
            under_way.append(asyncio.ensure_future(event()))
            await asyncio.sleep(0)

        middle = world.proxy.before = Middle(number, begin)
        await world.pass_with_faults()
        world.proxy.be_well()
        assert middle.done.is_set()
        await asyncio.gather(*under_way)
        assert await world.passes_until_quiet() <= 2, phase
        await life.judge()
    await life.settle()
