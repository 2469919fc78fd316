"""The fleet as its authors mean it: what is written into Git, and what must run when all has come to rest.

Knows nothing of how the reconciler gets there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from reconciler.model.identity import AgentName
from tests.doubles.simulated_cluster import Program

CLUSTERS = ("eu-1", "us-1")
NAMESPACES = ("support", "research")
MOST_AGENTS = 7
FLEET = """\
apiVersion: agents.codevald.io/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters: [{name: eu-1, embedded: {run: processes}}, {name: us-1, embedded: {run: processes}}]
"""
CARE = """\
  ports: [{name: http, port: 8080}]
  health: {failureThreshold: 2, checks: [{name: answers, connectivity: {http: {path: /, port: http}}}]}
"""
RECOVERY = "ladder: [restart, rollback, quarantine], backoff: {initial: 10s, factor: 2, max: 2m}, attempts: 5"
PLACEMENTS = (
    "clusters: {names: [eu-1]}",
    "clusters: {names: [us-1]}",
    "policy: spread",
    "policy: failover, clusters: {names: [eu-1, us-1]}, failoverAfter: 2m, failbackAfter: 4m",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One agent as its file declares it. `broken`: the file is no YAML."""

    name: AgentName
    number: int = 1
    program: Program = Program.WELL
    replicas: int = 1
    template: str = "base"
    after: tuple[AgentName, ...] = ()
    placement: str = PLACEMENTS[0]
    suspend: bool = False
    broken: bool = False

    @property
    def image(self) -> str:
        return f"acme/{self.name.name}:{self.number}-{self.program}"

    def text(self) -> str:
        if self.broken:
            return "spec: [not, closed"
        after = f"  dependsOn: [{', '.join(map(str, self.after))}]\n" if self.after else ""
        return (
            "apiVersion: agents.codevald.io/v1\nkind: Agent\n"
            f"metadata: {{name: {self.name.name}, namespace: {self.name.namespace}}}\n"
            f"spec:\n  extends: [{self.template}]\n  description: {self.name}\n  image: {self.image}\n"
            f"  replicas: {self.replicas}\n  placement: {{{self.placement}}}\n"
            f"  rollout: {{timeout: 1m}}\n{after}" + ("  suspend: true\n" if self.suspend else "")
        )


@dataclass(slots=True)
class Fleet:
    """What Git is to declare at its head. `agents` by the file that each stands in."""

    chance: random.Random
    agents: dict[str, Wanted] = field(default_factory=dict)
    templates: dict[str, int] = field(default_factory=lambda: {"base": 64, "large": 128})
    """Megabytes by template."""
    recovery: str = RECOVERY
    _made: int = 0

    def files(self) -> dict[str, str]:
        """The whole tree."""
        found = {"fleet.yaml": FLEET}
        for name, memory in self.templates.items():
            found[f"templates/{name}.yaml"] = (
                "apiVersion: agents.codevald.io/v1\nkind: AgentTemplate\n"
                f"metadata: {{name: {name}}}\n"
                f"spec:\n  resources: {{limits: {{memory: {memory}Mi}}}}\n{CARE}"
                f"  recovery: {{{self.recovery}}}\n"
            )
        return found | {path: wanted.text() for path, wanted in self.agents.items()}

    def declared(self) -> dict[AgentName, Wanted]:
        return {wanted.name: wanted for wanted in self.agents.values()}

    def any_file(self) -> str:
        """A file of an agent; "" where there is none."""
        return self.chance.choice(sorted(self.agents)) if self.agents else ""

    def add(self) -> None:
        """A new agent, as long as there is room."""
        if len(self.agents) >= MOST_AGENTS:
            return
        self._made += 1
        name = AgentName(namespace=self.chance.choice(NAMESPACES), name=f"a{self._made}")
        wanted = Wanted(
            name=name,
            replicas=self.chance.randint(1, 2),
            template=self.chance.choice(sorted(self.templates)),
            placement=self.chance.choice(PLACEMENTS),
        )
        self.agents[f"agents/{name.namespace}/{name.name}.yaml"] = wanted

    def change(self, path: str, **fields: object) -> None:
        self.agents[path] = replace(self.agents[path], **fields)  # type: ignore[arg-type]

    def remove(self, path: str) -> None:
        """Take an agent out, and out of what others depend on."""
        self._forget(self.agents.pop(path).name)

    def rename(self, path: str) -> None:
        """Another name in the same file."""
        self._made += 1
        old = self.agents[path]
        self._forget(old.name)
        self.change(path, name=AgentName(namespace=old.name.namespace, name=f"a{self._made}"))

    def depend(self, path: str) -> None:
        """Let an agent depend on an older one, or on none any more."""
        wanted = self.agents[path]
        older = sorted(item.name for item in self.agents.values() if _age(item) < _age(wanted))
        self.change(path, after=() if wanted.after or not older else (self.chance.choice(older),))

    def mend(self) -> None:
        """Whole files and programs that work."""
        for path, wanted in self.agents.items():
            if wanted.broken or wanted.program is not Program.WELL:
                self.change(path, broken=False, program=Program.WELL, number=wanted.number + 1)

    def _forget(self, name: AgentName) -> None:
        for path, wanted in list(self.agents.items()):
            if name in wanted.after:
                self.change(path, after=tuple(other for other in wanted.after if other != name))


def _age(wanted: Wanted) -> int:
    return int(wanted.name.name[1:])
