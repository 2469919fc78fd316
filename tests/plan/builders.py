"""A small world to plan in: files, clusters that apply as a server does, and a registry. No I/O.

Objects are applied with field ownership in the way of server-side apply, as far as plans look at it.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.engine.exports import Exports
from reconciler.model.fleet import Declaration
from reconciler.model.identity import AgentName, ObjectRef
from reconciler.model.objects import (
    FIELD_MANAGER,
    Absent,
    ClusterIdentity,
    Found,
    LiveObject,
    LiveSet,
    Manifest,
    Observation,
    Unreadable,
)
from reconciler.model.ownership import OwnedPath, taken
from reconciler.model.plan import Action, Change, Plan, Policy, Verb
from reconciler.model.registry import (
    AgentState,
    ClusterHealth,
    ClusterState,
    FleetRecord,
    InventoryEntry,
    Record,
    RegistrySnapshot,
)
from reconciler.model.source import Blob, Revision
from reconciler.placement import PlacementRequest, place
from reconciler.placement.wellness import Sight, judge, since
from reconciler.plan import PlanCache, PlanInput, guard, make_plan
from reconciler.render import Renderer
from reconciler.spec import SpecCache, read_fleet

LISTS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "imagePullSecrets": ("name",),
}
ATOMIC = frozenset({"selector", "nodeSelector", "labelSelector", "fieldRef", "configMapKeyRef", "secretKeyRef"})

FLEET = """
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters:
    - {name: local, embedded: {run: nothing}}
"""

BASE = """
apiVersion: agents.codevald.io/v1
kind: AgentTemplate
metadata: {name: base}
spec:
  image: ghcr.io/acme/agent:1.0.0
  command: [python, -m, acme.agent]
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
  ports: [{name: http, port: 8080}]
"""


def agent(name: str, *, extends: str = "base", **spec: Any) -> str:
    """An agent's file. `spec` in YAML names."""
    body = {
        "apiVersion": "agents.codevald.io/v1",
        "kind": "Agent",
        "metadata": {"name": name.partition("/")[2], "namespace": name.partition("/")[0]},
        "spec": ({"extends": [extends]} if extends else {}) | spec,
    }
    return json.dumps(body)


def path_of(name: str) -> str:
    return f"agents/{name}.yaml"


def fleet_files(*agents: str, fleet: str = FLEET, base: str = BASE) -> dict[str, str]:
    """Files of a fleet whose agents are plain."""
    return {"fleet.yaml": fleet, "templates/base.yaml": base} | {path_of(name): agent(name) for name in agents}


def revision_of(files: Mapping[str, str]) -> Revision:
    commit = hashlib.sha1(json.dumps(dict(files), sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return Revision(commit=commit, ref="refs/heads/main")


def declare(files: Mapping[str, str], cache: SpecCache | None = None) -> Declaration:
    blobs = {
        path: Blob(id=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), data=text.encode())
        for path, text in files.items()
    }
    return read_fleet(revision_of(files), blobs, cache=cache)


def fields_of(body: Any, name: str = "") -> dict[str, Any]:
    """The fieldsV1 of a configuration, as a server writes it."""
    if not isinstance(body, dict) or name in ATOMIC:
        return {}
    result: dict[str, Any] = {}
    for key, value in body.items():
        keys = LISTS.get(key) or (("containerPort", "protocol") if _pod_ports(key, value) else None)
        if key == "ports" and keys is None and isinstance(value, list):
            keys = ("port", "protocol")
        if keys and isinstance(value, list):
            result[f"f:{key}"] = {_item(item, keys): {".": {}, **fields_of(item)} for item in value}
        else:
            result[f"f:{key}"] = fields_of(value, key)
    return result


def _pod_ports(key: str, value: Any) -> bool:
    return key == "ports" and bool(value) and "containerPort" in value[0]


def _item(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    identity = {key: item.get(key, "TCP") for key in keys}
    return "k:" + json.dumps(identity, separators=(",", ":"), sort_keys=True)


def without_identity(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in body["metadata"].items() if k not in ("name", "namespace")}
    return {"metadata": metadata} | {k: v for k, v in body.items() if k not in ("apiVersion", "kind", "metadata")}


def owned_by(
    manager: str, fields: dict[str, Any], *, operation: str = "Apply", subresource: str = ""
) -> dict[str, Any]:
    entry = {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields}
    return entry | ({"subresource": subresource} if subresource else {})


@dataclass
class World:
    """Everything that a plan looks at, and a simulated apply of what it says."""

    files: dict[str, str]
    live: dict[str, dict[ObjectRef, LiveObject]] = field(default_factory=dict)
    records: dict[AgentName, Record] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    partly: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)
    apis: dict[str, list[str]] = field(default_factory=dict)
    """Optional APIs of clusters, as `group/version`."""
    health: dict[str, ClusterHealth] = field(default_factory=dict)
    """How clusters are on record."""
    registry_down: str = ""
    counter: int = 100
    now_ms: int = 1_000_000
    spec_cache: SpecCache = field(default_factory=SpecCache)
    renderer: Renderer = field(default_factory=lambda: Renderer(fleet="acme"))

    @property
    def declaration(self) -> Declaration:
        return declare(self.files, self.spec_cache)

    def clusters(self) -> tuple[str, ...]:
        fleet = self.declaration.fleet
        return tuple(cluster.name for cluster in fleet.clusters) if fleet else ("local",)

    def observations(self) -> dict[str, Observation[LiveSet]]:
        found: dict[str, Observation[LiveSet]] = {}
        for name in self.clusters():
            if name in self.unreadable:
                found[name] = Unreadable(reason=self.unreadable[name])
            else:
                objects = dict(self.live.get(name, {}))
                found[name] = Found(LiveSet(objects=objects, unreadable=self.partly.get(name, {})))
        return found

    def identities(self) -> dict[str, Observation[ClusterIdentity]]:
        return {
            name: Unreadable(reason=self.unreadable[name])
            if name in self.unreadable
            else Found(
                ClusterIdentity(
                    uid=self.uids.get(name, f"uid-{name}"), version="v1.36.3", apis=frozenset(self.apis.get(name, ()))
                )
            )
            for name in self.clusters()
        }

    def judged(
        self,
        identities: Mapping[str, Observation[ClusterIdentity]],
        observations: Mapping[str, Observation[LiveSet]],
        strangers: Mapping[str, str],
    ) -> dict[str, ClusterHealth]:
        """How clusters are by a look now."""
        sights = {
            name: Sight(identity=identities[name], live=observations[name], capacity=Absent()) for name in observations
        }
        return judge(self.health, sights, strangers=strangers, now_ms=self.now_ms)

    def note(self) -> None:
        """Look, and write down how clusters are, as `apply` and `health` do."""
        self.health = self.judged(self.identities(), self.observations(), {})

    def input(self, policy: Policy | None = None, *, rewound: bool = False) -> PlanInput:
        declaration = self.declaration
        fleet = declaration.fleet
        policy = policy or Policy()
        pins = FleetRecord(name="acme", version=1, cluster_uids=self.pins)
        observations = self.observations()
        identities = self.identities()
        others = guard.strangers(identities, pins, policy.accept_clusters)
        clusters = self.judged(identities, observations, others)
        placed = place(
            PlacementRequest(
                agents=declaration.agents,
                clusters=fleet.clusters if fleet else (),
                capacities={name: Absent() for name in self.clusters()},
                records=self.records,
                quotas=fleet.quotas if fleet else (),
                now_ms=self.now_ms,
                cluster_unwell_since_ms=since(clusters, ClusterState.UNWELL),
                cluster_well_since_ms=since(clusters, ClusterState.WELL),
                unreachable=frozenset(
                    name for name, seen in observations.items() if name in others or isinstance(seen, Unreadable)
                ),
            )
        )
        held = {name for hold in placed.holds for name in hold.agents}
        exports = Exports.by(identities, fleet.clusters if fleet else ())
        desired = {
            name: self.renderer.render(
                item, placed.placed[name], exports.of(item, placed.placed[name], self.records.get(name))
            )
            for name, item in declaration.agents.items()
            if name in placed.placed and name not in held
        }
        snapshot = RegistrySnapshot(
            seq=self.counter, fleet=pins, records=dict(self.records), clusters=dict(self.health)
        )
        return PlanInput(
            declaration=declaration,
            placed=placed.placed,
            reservations=placed.reservations,
            placement_holds=placed.holds,
            desired=desired,
            observations=observations,
            identities=identities,
            homes=placed.homes,
            clusters=clusters,
            registry=Unreadable(reason=self.registry_down) if self.registry_down else Found(snapshot),
            policy=policy,
            rewound=rewound,
            now_ms=self.now_ms,
        )

    def plan(self, policy: Policy | None = None, *, rewound: bool = False, cache: PlanCache | None = None) -> Plan:
        return make_plan(self.input(policy, rewound=rewound), cache)

    def tick(self) -> int:
        self.counter += 1
        return self.counter

    def converge(self, policy: Policy | None = None) -> Plan:
        """Plan and apply; answers the plan that was applied."""
        plan = self.plan(policy)
        self.apply(plan)
        return plan

    def apply(self, plan: Plan) -> None:
        for change in plan.changes:
            self._apply(change, plan.revision.commit)

    def _apply(self, change: Change, commit: str) -> None:
        record = self.records.get(change.name)
        inventory = {(entry.cluster, entry.ref): entry for entry in record.inventory} if record else {}
        for item in change.objects:
            objects = self.live.setdefault(item.cluster, {})
            key = (item.cluster, item.ref)
            if item.verb is Verb.DELETE:
                objects.pop(item.ref, None)
                continue
            assert item.manifest is not None
            if item.verb is Verb.REPLACE:
                objects.pop(item.ref)
            if item.verb is Verb.CREATE:
                assert item.ref not in objects
            if item.take_back is not None:
                self._let_go(item.cluster, item.ref)
            live = self.server_apply(item.cluster, item.manifest, force=item.force, take=item.take)
            inventory[key] = InventoryEntry(
                cluster=item.cluster,
                ref=item.ref,
                uid=live.uid,
                resource_version=live.resource_version,
                hash=item.manifest.hash,
            )
        if change.action is Action.DELETE:
            left = tuple(entry for entry in inventory.values() if entry.cluster in change.untouched)
            if not left:
                del self.records[change.name]
            else:
                self.alter(str(change.name), inventory=left, state=AgentState.TERMINATING, behind=change.behind)
            return
        assert change.agent is not None
        wanted = {(cluster, m.ref) for cluster, manifests in change.desired.items() for m in manifests}
        suspended = change.agent.spec.suspend or bool(record and record.suspended)
        self.records[change.name] = dataclasses.replace(
            record or self._new(change.name),
            version=(record.version if record else 0) + 1,
            state=AgentState.SUSPENDED if suspended else AgentState.RUNNING,
            labels=change.agent.labels,
            document=change.agent.document,
            spec_hash=change.agent.spec_hash,
            lineage=change.agent.lineage,
            source_path=change.agent.position.path,
            commit=commit,
            placement=change.placement,
            reservations=change.reservations,
            inventory=tuple(
                entry for key, entry in inventory.items() if key in wanted or entry.cluster in change.untouched
            ),
            behind=change.behind,
            home=change.home,
            protect=change.agent.spec.protect,
        )

    def _let_go(self, cluster: str, ref: ObjectRef) -> None:
        """Everybody but us loses the replicas of a Deployment: what taking them back comes to."""
        for entry in self.live[cluster][ref].body["metadata"]["managedFields"]:
            if entry["manager"] != FIELD_MANAGER:
                entry["fieldsV1"] = _minus(entry["fieldsV1"], {"f:spec": {"f:replicas": {}}})

    def _new(self, name: AgentName) -> Record:
        return Record(
            id=f"id-{self.tick()}",
            name=name,
            version=0,
            state=AgentState.REGISTERED,
            labels={},
            document={},
            spec_hash="",
            lineage=(),
            source_path="",
            commit="",
            revision=1,
            placement=(),
            reservations=(),
            inventory=(),
        )

    def server_apply(
        self, cluster: str, manifest: Manifest, *, force: Iterable[str] = (), take: Iterable[OwnedPath] = ()
    ) -> LiveObject:
        """Server-side apply by our manager: what we stop wanting goes, what others own stays or is taken by force."""
        objects = self.live.setdefault(cluster, {})
        before = objects.get(manifest.ref)
        body: dict[str, Any] = copy.deepcopy(dict(before.body)) if before else {"metadata": {}}
        wanted = copy.deepcopy(dict(manifest.body))
        mine = fields_of(without_identity(wanted))
        entries: list[Any] = body["metadata"].pop("managedFields", [])
        if take:
            entries = taken(entries, take, manager=FIELD_MANAGER, api_version=wanted["apiVersion"])
        previous: dict[str, Any] = next(
            (e["fieldsV1"] for e in entries if e["manager"] == FIELD_MANAGER and _applied(e)), {}
        )
        others = [entry for entry in entries if not (entry["manager"] == FIELD_MANAGER and _applied(entry))]
        for entry in others:
            conflict = _overlap(entry["fieldsV1"], mine, body, wanted)
            assert not conflict or entry["manager"] in set(force), f"conflict with {entry['manager']}: {conflict}"
            if conflict:
                entry["fieldsV1"] = _minus(entry["fieldsV1"], mine)
        _drop(body, previous, mine, others)
        _merge(body, wanted)
        number = self.tick()
        uid = before.uid if before else f"uid-{number}"
        body["metadata"] |= {
            "uid": uid,
            "resourceVersion": str(number),
            "managedFields": [owned_by(FIELD_MANAGER, mine), *(e for e in others if e["fieldsV1"])],
        }
        live = LiveObject(ref=manifest.ref, uid=uid, resource_version=str(number), body=body)
        objects[manifest.ref] = live
        return live

    def edit(
        self,
        ref: ObjectRef,
        change: Callable[[dict[str, Any]], None],
        fields: dict[str, Any],
        *,
        cluster: str = "local",
        manager: str = "kubectl",
        operation: str = "Update",
        subresource: str = "",
    ) -> None:
        """A foreign write of `fields`: they are that manager's from then on, and no longer ours."""
        before = self.live[cluster][ref]
        body = copy.deepcopy(dict(before.body))
        for entry in body["metadata"]["managedFields"]:
            entry["fieldsV1"] = _minus(entry["fieldsV1"], fields)
        change(body)
        if manager:
            body["metadata"]["managedFields"].append(
                owned_by(manager, fields, operation=operation, subresource=subresource)
            )
        self.store(cluster, ref, body, uid=before.uid)

    def store(self, cluster: str, ref: ObjectRef, body: dict[str, Any], *, uid: str = "") -> LiveObject:
        number = self.tick()
        uid = uid or f"uid-{number}"
        body.setdefault("metadata", {})
        body["metadata"] |= {"uid": uid, "resourceVersion": str(number)}
        live = LiveObject(ref=ref, uid=uid, resource_version=str(number), body=body)
        self.live.setdefault(cluster, {})[ref] = live
        return live

    def touch(self, ref: ObjectRef, cluster: str = "local") -> None:
        """A status write: only the resourceVersion moves."""
        before = self.live[cluster][ref]
        self.store(cluster, ref, copy.deepcopy(dict(before.body)) | {"status": {"seen": self.counter}}, uid=before.uid)

    def alter(self, name: str, **changes: Any) -> None:
        """Change fields of a record."""
        key = AgentName.parse(name)
        self.records[key] = dataclasses.replace(self.records[key], **changes)


def _applied(entry: Mapping[str, Any]) -> bool:
    return entry["operation"] == "Apply" and not entry.get("subresource")


def _overlap(theirs: Mapping[str, Any], mine: Mapping[str, Any], body: Any, wanted: Any) -> list[str]:
    """Leaves that both have and that differ."""
    found: list[str] = []
    for key, inner in theirs.items():
        if key == "." or key not in mine:
            continue
        have, want = _step(body, key), _step(wanted, key)
        if inner and mine[key]:
            found += [f"{key}/{deeper}" for deeper in _overlap(inner, mine[key], have, want)]
        elif have != want:
            found.append(key)
    return found


def _minus(theirs: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for key, inner in theirs.items():
        if key not in taken:
            result[key] = inner
        elif inner and taken[key] and (rest := _minus(inner, taken[key])) and set(rest) != {"."}:
            result[key] = rest
    return result


def _step(value: Any, key: str) -> Any:
    if key.startswith("f:"):
        return value.get(key[2:]) if isinstance(value, dict) else None
    identity = json.loads(key[2:])
    items = value if isinstance(value, list) else []
    return next((i for i in items if all(i.get(k, "TCP") == v for k, v in identity.items())), None)


def _drop(body: Any, previous: Mapping[str, Any], mine: Mapping[str, Any], others: list[dict[str, Any]]) -> None:
    """Remove what we owned, want no more and nobody else owns."""
    for key, inner in previous.items():
        if key == "." or body is None:
            continue
        theirs = [entry["fieldsV1"][key] for entry in others if key in entry["fieldsV1"]]
        below = [{"fieldsV1": tree} for tree in theirs]
        if key in mine:
            _drop(_step(body, key), inner, mine[key], below)
        elif not theirs:
            if key.startswith("f:"):
                body.pop(key[2:], None)
            elif (item := _step(body, key)) is not None:
                body.remove(item)
        else:
            _drop(_step(body, key), inner, {}, below)


def _merge(body: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        keys = LISTS.get(key) or (("containerPort",) if _pod_ports(key, value) else None)
        if key == "ports" and keys is None:
            keys = ("port",)
        if isinstance(value, dict) and key not in ATOMIC and isinstance(body.get(key), dict):
            _merge(body[key], value)
        elif keys and isinstance(value, list) and isinstance(body.get(key), list):
            for item in value:
                there = next((o for o in body[key] if all(o.get(k) == item.get(k) for k in keys)), None)
                if there is None:
                    body[key].append(item)
                else:
                    _merge(there, item)
        else:
            body[key] = value


def ref(kind: str, name: str) -> ObjectRef:
    """The reference of a rendered object: `ref("Deployment", "support/triage")`."""
    namespace, _, short = name.partition("/")
    group = {"Deployment": "apps", "PodDisruptionBudget": "policy", "HorizontalPodAutoscaler": "autoscaling"}
    return ObjectRef(group=group.get(kind, ""), kind=kind, namespace=namespace, name=short)


def running(*agents: str, **kinds: str) -> World:
    """A world in which those agents are applied already."""
    world = World(files=fleet_files(*agents, **kinds))
    world.converge()
    return world


def actions(plan: Plan) -> dict[str, str]:
    return {str(change.name): str(change.action) for change in plan.changes}


def held(plan: Plan) -> dict[str, list[str]]:
    """Agents by the code that holds them."""
    found: dict[str, list[str]] = {}
    for hold in plan.holds:
        found.setdefault(str(hold.code), []).extend(str(name) for name in hold.agents)
    return found
