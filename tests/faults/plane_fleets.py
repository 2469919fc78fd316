"""A fleet of some agents on a plane through its whole life, and what must be there after each of its commits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from tests.faults.ledger import Key
from tests.faults.plane_world import Files, PlaneWorld, agent_yaml

ALWAYS = frozenset({"ServiceAccount", "ConfigMap", "Service", "Deployment"})

READY_AGAIN_S = 90.0


class Life:
    """Commits of a fleet, and the ends that they are to have."""

    def __init__(self, world: PlaneWorld, count: int) -> None:
        self.world = world
        self.names = [f"agent-{number}" for number in range(count)]
        self.going = frozenset(self.names[-max(1, count // 4) :])
        self.wanted: dict[str, tuple[str, int]] = {}
        """Tag and replicas by name."""
        self.uids: dict[Key, str] = {}

    def phases(self) -> Mapping[str, Mapping[str, tuple[str, int] | None]]:
        """What each commit changes, by the name of the phase."""
        return {
            "create": dict.fromkeys(self.names, ("1", 2)),
            "update": dict.fromkeys(self.names, ("2", 2)),
            "scale": {name: ("2", 3) for name in self.names if name not in self.going},
            "delete": dict.fromkeys(self.going),
        }

    def commit(self, phase: str) -> None:
        """Commit a phase."""
        files: dict[str, str | None] = {}
        for name, wanted in self.phases()[phase].items():
            if wanted is None:
                del self.wanted[name]
                files[name] = None
            else:
                self.wanted[name] = wanted
                files[name] = agent_yaml(self.world.namespace, name, tag=wanted[0], replicas=wanted[1])
        made: Files = files
        self.world.commit(made)

    async def judge(self) -> None:
        """What is there is what was committed, and what was there before is still the very same."""
        await self.world.judge()
        objects = await self._settled()
        assert {key[1] for key in objects} == set(self.wanted)
        for name, (tag, replicas) in self.wanted.items():
            assert {key[0] for key in objects if key[1] == name} == {*ALWAYS, "PodDisruptionBudget"}
            deployment = objects["Deployment", name]
            assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"acme/{name}:{tag}"
            assert deployment["spec"]["replicas"] == replicas
            assert deployment["status"]["readyReplicas"] == replicas
        for key, uid in self.uids.items():
            assert key[1] not in self.wanted or objects[key]["metadata"]["uid"] == uid, key
        self.uids = {key: one["metadata"]["uid"] for key, one in objects.items()}

    async def _settled(self) -> Mapping[Key, Any]:
        """The objects once pods are ready again: nodes of a server that was killed count as lost for a moment."""
        end = time.monotonic() + READY_AGAIN_S
        while True:
            objects = await self.world.objects()
            ready = (objects.get(("Deployment", name), {}).get("status", {}) for name in self.wanted)
            counts = [status.get("readyReplicas", 0) for status in ready]
            if counts == [replicas for _tag, replicas in self.wanted.values()] or time.monotonic() > end:
                return objects
            await asyncio.sleep(0.5)

    async def settle(self) -> None:
        """What the server has seen in all of this life: each object came once, and only those of a commit went."""
        ledger, namespace = self.world.harness.ledger, self.world.namespace
        await ledger.settle(namespace)
        made, gone = ledger.made(namespace), ledger.gone(namespace)
        assert {key: uids for key, uids in made.items() if len(uids) != 1} == {}
        assert {key[1] for key in gone} <= self.going
        assert {key for key in made if key[1] in self.going} == set(gone) or self.going <= set(self.wanted)
        counts = await self.world.replica_sets()
        assert all(count <= 2 for count in counts.values()), counts

    def deployments(self, objects: Mapping[Key, Any]) -> set[str]:
        return {key[1] for key in objects if key[0] == "Deployment"}
