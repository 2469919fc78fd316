"""An agent on a real API server, somebody else's change there, and what becomes of it: judged, undone or kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.bootstrap import Session
from reconciler.model.events import Outcome
from reconciler.model.plan import Drift, Missing, Plan, Verb
from tests.controlplane.plane import ControlPlane
from tests.engine.fleets import FleetRepo, agent, applied, finished, plan_of

Body = dict[str, Any]
NAME = "triage"
PLAIN = """\
  command: [python, -m, acme]
  args: [--fast]
  env: [{name: LEVEL, value: info}, {name: EMPTY, value: ""}]
  replicas: 2
  ports: [{name: http, port: 8080}]
  probes: {readiness: {http: {path: /healthz, port: http}, period: 5s}}
  resources: {requests: {cpu: "1", memory: 128Mi}, limits: {memory: 256Mi}}
"""
SCALING = """\
  ports: [{name: http, port: 8080}]
  resources: {requests: {cpu: 100m}}
  autoscaling: {min: 2, max: 4, metrics: [{cpu: 70%}]}
"""


@dataclass(frozen=True, kw_only=True)
class Undone:
    """A field that a plan sets right, and who wrote it ("": nobody is on record)."""

    kind: str
    path: str
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A field that is another's: told, and not touched."""

    kind: str
    path: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """One kind of foreign change, and how it is to be judged.

    `drift` is all that the plan tells of fields, `verbs` what it does (kind: verb; {} is nothing), `hold` the code of
    what keeps the agent as it is. `kept` looks at the live object after the apply: what of the change must still be
    there. `git` is what Git says by then, if it changed too.
    """

    change: Callable[[Stage], object]
    drift: tuple[Undone | Left, ...] = ()
    verbs: Mapping[str, Verb] = field(default_factory=dict)
    hold: str = ""
    kept: Callable[[Stage], bool] = lambda _: True
    body: str = PLAIN
    git: str = ""


class Stage:
    """One agent in a namespace of its own, in a fleet of its own, and the hands of others."""

    def __init__(self, plane: ControlPlane, namespace: str, repo: FleetRepo, session: Session) -> None:
        self.plane, self.namespace, self.repo, self.session = plane, namespace, repo, session

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002  # as the plane's
        return self.plane.kubectl("-n", self.namespace, *arguments, input=input)

    def live(self, kind: str = "deployment", name: str = NAME) -> Body:
        """An object as it is now, managedFields and all."""
        found: Body = json.loads(self.kubectl("get", kind, name, "-o", "json", "--show-managed-fields"))
        return found

    def pod(self) -> Body:
        """What the Deployment's pods are made of."""
        found: Body = self.live()["spec"]["template"]["spec"]
        return found

    def container(self, name: str = "agent") -> Body:
        """A container of the Deployment's pods."""
        return next(one for one in self.pod()["containers"] if one["name"] == name)

    def edit(self, change: Callable[[Body], object], kind: str = "deployment") -> None:
        """`kubectl edit`: read, change, write."""
        body = self.live(kind)
        change(body)
        self.kubectl("replace", "--field-manager=kubectl-edit", "-f", "-", input=json.dumps(body))

    def edit_container(self, change: Callable[[Body], object]) -> None:
        self.edit(lambda body: change(body["spec"]["template"]["spec"]["containers"][0]))

    def merge(self, patch: Body, kind: str = "deployment", *options: str) -> None:
        """`kubectl patch --type=merge`."""
        self.kubectl("patch", kind, NAME, "--type=merge", "-p", json.dumps(patch), *options)

    def apply_as(self, manager: str, spec: Body, *options: str) -> None:
        """Another Apply manager says its part of the Deployment."""
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}
        self.kubectl(
            "apply", "--server-side", f"--field-manager={manager}", *options, "-f", "-", input=json.dumps(body)
        )

    def declare(self, body: str) -> None:
        self.repo.commit({f"agents/{NAME}.yaml": agent(NAME, body, namespace=self.namespace)})

    async def plan(self) -> Plan:
        return await plan_of(self.session)


@asynccontextmanager
async def staged(plane: ControlPlane, namespace: str, folder: Path, body: str) -> AsyncIterator[Stage]:
    """A stage with its agent applied, and a plan that finds nothing to do: no perpetual diff to begin with."""
    cluster = f"{{name: real, kubernetes: {{kubeconfig: {plane.kubeconfig}, context: {plane.name}}}}}"
    head = "apiVersion: agents.codevald.io/v1\nkind: Fleet\n"
    repo = FleetRepo(folder, f"{head}metadata: {{name: {namespace}}}\nspec:\n  clusters: [{cluster}]\n")
    async with await repo.session() as session:
        stage = Stage(plane, namespace, repo, session)
        stage.declare(body)
        (first,) = finished(await applied(session)).values()
        assert (first.outcome, first.reason) == (Outcome.APPLIED, "")
        assert_nothing_to_say(await stage.plan())
        yield stage


def assert_nothing_to_say(plan: Plan) -> None:
    assert (plan.changes, plan.drift, plan.holds) == ((), (), ())


def told(plan: Plan) -> set[Undone | Left]:
    """What a plan tells of fields."""
    found: list[Drift] = [*plan.drift, *(item for change in plan.changes for item in change.drift)]
    return {
        Undone(kind=one.ref.kind, path=one.path, by=one.manager)
        if one.undone
        else Left(kind=one.ref.kind, path=one.path, by=one.manager)
        for one in found
    }


async def assert_judged(stage: Stage, foreign: Foreign) -> None:
    """The whole story of one foreign change: plan, apply, live objects, and the next plan."""
    foreign.change(stage)
    if foreign.git:
        stage.declare(foreign.git)
    plan = await stage.plan()
    assert told(plan) == set(foreign.drift)
    does = {item.ref.kind: item.verb for change in plan.changes for item in change.objects}
    assert does == foreign.verbs
    overridden = {name for change in plan.changes for item in change.objects for name in item.force}
    assert overridden == {one.by for one in foreign.drift if isinstance(one, Undone)} - {""}
    assert [str(hold.code) for hold in plan.holds] == ([foreign.hold] if foreign.hold else [])
    outcomes = [(one.outcome, one.reason) for one in finished(await applied(stage.session, plan)).values()]
    assert outcomes == [(Outcome.APPLIED, "")] * len(plan.changes)
    assert foreign.kept(stage), "what was not ours is gone"
    left = {(one.kind, one.path) for one in foreign.drift if isinstance(one, Left)}
    if not foreign.hold:
        for change in plan.changes:
            for manifest in change.desired["real"]:
                kind = manifest.ref.kind
                missing = set(missing_in(manifest.body, stage.live(kind, manifest.ref.name)))
                assert {(kind, path) for path in missing} <= left
    after = await stage.plan()
    assert after.changes == ()
    assert told(after) == {one for one in foreign.drift if isinstance(one, Left)}
    assert after.holds == plan.holds


def missing_in(wanted: Any, live: Any, path: str = "") -> Iterable[str]:
    """Paths of `wanted` that `live` lacks or has otherwise: a look at values that knows nothing of owners.

    An item of a list is the one that has the same name (or port, or path); zero values are as good as absent.
    """
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            there = live.get(key, Missing.FIELD) if isinstance(live, Mapping) else Missing.FIELD
            yield from missing_in(value, there, f"{path}.{key}" if path else key)
    elif isinstance(wanted, list) and wanted and isinstance(wanted[0], Mapping):
        for item in wanted:
            key = next(
                key for key in ("containerPort", "port", "mountPath", "name", "topologyKey", "type") if key in item
            )
            there = next((one for one in live or () if one.get(key) == item[key]), {})
            yield from missing_in(item, there, f"{path}[{item[key]}]")
    elif not (wanted == live or (live is Missing.FIELD and wanted in ("", 0, False))):
        yield path
