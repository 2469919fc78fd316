"""A whole revision: every file read, every agent resolved, agents judged among each other.

May live here: assembly of a Declaration and the cache that makes its cost grow with what changed. Must not: know
what becomes of agents after they are declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.fleet import Declaration, FleetSpec, Frozen
from reconciler.model.identity import AgentName
from reconciler.model.source import Blob, Diagnostic, Document, Layer, Position, Revision, Severity
from reconciler.spec.documents import locate
from reconciler.spec.files import FLEET_FILE, AgentEntry, FileReading, diagnose, is_fleet_file, read_file
from reconciler.spec.fleetfile import read_fleet_document
from reconciler.spec.nearest import did_you_mean
from reconciler.spec.provenance import place
from reconciler.spec.resolve import Resolved, Sources, chain_problem, judge_template, layers_of, resolve
from reconciler.spec.shape import Problem
from reconciler.spec.templates import ChainError
from reconciler.spec.validate import cycle, selects

_Key = tuple[Any, ...]


@dataclass(slots=True)
class SpecCache:
    """Work that need not be done again: keyed by blob ids, so it can never be wrong, only cold.

    One cache serves one repository; give the same one to every `read_fleet`.
    """

    files: dict[str, tuple[str, str, FileReading]] = field(default_factory=dict)
    resolved: dict[tuple[str, int], tuple[_Key, Resolved]] = field(default_factory=dict)


def read_fleet(revision: Revision, blobs: Mapping[str, Blob], *, cache: SpecCache | None = None) -> Declaration:
    """All that one revision declares. Mistakes are collected in the Declaration, never raised.

    `blobs` are the files of the fleet's folder by path. Positions carry the commit in which a blob was first read.
    """
    return _Assembly(revision, cache if cache is not None else SpecCache()).run(blobs)


class _Assembly:
    def __init__(self, revision: Revision, cache: SpecCache) -> None:
        self.revision, self.cache = revision, cache
        self.sources = Sources()
        self.found: dict[tuple[Position, str, str], Diagnostic] = {}
        self.agents: dict[AgentName, Agent] = {}
        self.frozen: dict[AgentName, Frozen] = {}
        self.paths: dict[str, Frozen] = {}
        self.known_chains: dict[str, tuple[Layer, ...]] = {}

    def run(self, blobs: Mapping[str, Blob]) -> Declaration:
        readings = self._files(blobs)
        for reading in readings:
            self._note(reading.diagnostics)
            if reading.unreadable:
                self.paths[reading.path] = Frozen(reason=reading.unreadable[0].message, diagnostics=reading.unreadable)
        templates = self._templates(readings)
        fleet = self._fleet(readings)
        self._agents(readings, templates)
        if fleet is not None:
            self._placements(fleet)
        self._dependencies()
        return Declaration(
            revision=self.revision,
            fleet=fleet,
            agents=self.agents,
            frozen_agents=dict(sorted(self.frozen.items())),
            frozen_paths=self.paths,
            templates=self._radius(templates),
            diagnostics=tuple(sorted(self.found.values(), key=_order)),
            files=len(readings),
        )

    def _files(self, blobs: Mapping[str, Blob]) -> list[FileReading]:
        kept = self.cache.files
        readings = []
        for path in sorted(filter(is_fleet_file, blobs)):
            blob = blobs[path]
            known = kept.get(path)
            if known is None or known[0] != blob.id or known[1] != blob.mode:
                known = (blob.id, blob.mode, read_file(path, blob, self.revision.commit))
                kept[path] = known
            readings.append(known[2])
            self.sources.put(path, blob.data)
        if len(kept) > len(readings):
            for path in kept.keys() - blobs.keys():
                del kept[path]
        return readings

    def _note(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        for diagnostic in diagnostics:
            self.found.setdefault((diagnostic.position, diagnostic.code, diagnostic.message), diagnostic)

    def _templates(self, readings: list[FileReading]) -> dict[str, Document]:
        """Templates by name; one that is declared twice counts nowhere, so that nothing depends on file order."""
        declared: dict[str, list[Document]] = {}
        for reading in readings:
            for name, document in reading.templates:
                declared.setdefault(name, []).append(document)
        result = {}
        for name, documents in declared.items():
            if len(documents) == 1:
                result[name] = documents[0]
                self._note(judge_template(documents[0], self.sources.get(documents[0].path)))
            else:
                self._note(self._twice(f"the template {name!r}", documents))
        for document in result.values():
            self._chain(document, result)
        return result

    def _chain(self, document: Document, templates: Mapping[str, Document]) -> None:
        try:
            layers_of(document, templates, self.known_chains)
        except ChainError as error:
            self._note((chain_problem(document, error, templates, self.sources.get(document.path)),))

    def _twice(self, what: str, documents: list[Document]) -> tuple[Diagnostic, ...]:
        places = [locate(document, ("metadata", "name")) for document in documents]
        found = []
        for position in places:
            others = ", ".join(str(other) for other in places if other != position)
            problem = Problem(code="declared-twice", message=f"{what} is declared here and at {others}", path=())
            found.append(diagnose(problem, position, self.sources.get(position.path)))
        return tuple(found)

    def _fleet(self, readings: list[FileReading]) -> FleetSpec | None:
        documents = [document for reading in readings for document in reading.fleets]
        home = [document for document in documents if document.path == FLEET_FILE]
        if not home:
            if FLEET_FILE not in self.paths:
                problem = Problem(code="no-fleet", message="no Fleet is declared in fleet.yaml", path=())
                self._note((diagnose(problem, Position(path=FLEET_FILE), b""),))
            return None
        if len(documents) > 1:
            self._note(self._twice("a Fleet", documents))
            return None
        broken = any(diagnostic.position.path == FLEET_FILE for diagnostic in self.found.values())
        fleet, found = read_fleet_document(home[0], self.sources.get(FLEET_FILE))
        self._note(found)
        return None if broken else fleet

    def _agents(self, readings: list[FileReading], templates: Mapping[str, Document]) -> None:
        declared: dict[AgentName, list[AgentEntry]] = {}
        for reading in readings:
            for entry in reading.agents:
                declared.setdefault(entry.name, []).append(entry)
        for name, entries in sorted(declared.items()):
            if len(entries) > 1:
                found = self._twice(f"the agent {name}", [entry.document for entry in entries])
                self._note(found)
                self.frozen[name] = Frozen(reason="declared more than once", diagnostics=found)
            else:
                self._agent(entries[0], templates)

    def _agent(self, entry: AgentEntry, templates: Mapping[str, Document]) -> None:
        if entry.metadata is None:
            self._freeze(entry.name, entry.broken)
            return
        document = entry.document
        try:
            layers = layers_of(document, templates, self.known_chains)
        except ChainError as error:
            found = chain_problem(document, error, templates, self.sources.get(document.path))
            self._freeze(entry.name, (found,))
            return
        key: _Key = tuple((layer.document.path, layer.document.blob, layer.document.index) for layer in layers)
        place_of = (document.path, document.index)
        known = self.cache.resolved.get(place_of)
        if known is None or known[0] != key:
            known = (key, resolve(entry.name, entry.metadata, layers, self.sources))
            self.cache.resolved[place_of] = known
        self._note(known[1].diagnostics)
        if known[1].agent is None:
            self._freeze(entry.name, known[1].diagnostics)
        else:
            self.agents[entry.name] = known[1].agent

    def _freeze(self, name: AgentName, found: tuple[Diagnostic, ...]) -> None:
        self._note(found)
        self.agents.pop(name, None)
        reason = found[0].message if found else "invalid"
        self.frozen[name] = Frozen(reason=reason, diagnostics=found)

    def _placements(self, fleet: FleetSpec) -> None:
        """A placement that selects no cluster. Judged once for each distinct selector."""
        verdicts: dict[str, bool] = {}
        for name, agent in list(self.agents.items()):
            selector = agent.spec.placement.clusters
            if selector.everything:
                continue
            key = repr(selector)
            if key not in verdicts:
                verdicts[key] = any(selects(selector, cluster) for cluster in fleet.clusters)
            if not verdicts[key]:
                clusters = ", ".join(cluster.name for cluster in fleet.clusters)
                problem = Problem(
                    code="no-cluster",
                    message="the placement selects no cluster",
                    path=("placement", "clusters"),
                    hint=f"the fleet has {clusters}",
                    key=True,
                )
                self._freeze(name, (self._at(agent, problem),))

    def _at(self, agent: Agent, problem: Problem) -> Diagnostic:
        position = place(agent.layers, problem.path, key=problem.key)
        return diagnose(problem, position, self.sources.get(position.path))

    def _dependencies(self) -> None:
        """Unknown dependencies and cycles. An agent that depends on an invalid one stays valid: that one exists."""
        asking = {name: agent for name, agent in self.agents.items() if agent.spec.depends_on}
        declared = self.agents.keys() | self.frozen.keys()
        edges = {name: agent.spec.depends_on for name, agent in asking.items()}
        for name, agent in asking.items():
            for index, other in enumerate(agent.spec.depends_on):
                if other not in declared:
                    problem = Problem(
                        code="unknown-dependency",
                        message=f"unknown agent '{other}' in dependsOn",
                        path=("dependsOn", f"[{index}]"),
                        hint=did_you_mean(str(other), map(str, declared)),
                    )
                    self._freeze(name, (self._at(agent, problem),))
                    break
            else:
                chain = cycle(name, lambda here: edges.get(here, ()))
                if chain:
                    text = " -> ".join(map(str, chain))
                    problem = Problem(
                        code="dependency-cycle", message=f"dependsOn goes in a circle: {text}", path=("dependsOn",)
                    )
                    self._freeze(name, (self._at(agent, problem),))

    def _radius(self, templates: Mapping[str, Document]) -> dict[str, tuple[AgentName, ...]]:
        reached: dict[str, list[AgentName]] = {name: [] for name in templates}
        for name, agent in self.agents.items():
            for template in agent.lineage:
                reached[template].append(name)
        return {template: tuple(sorted(names)) for template, names in sorted(reached.items())}


def _order(diagnostic: Diagnostic) -> tuple[Position, str, str]:
    return diagnostic.position, diagnostic.code, diagnostic.message


def errors(declaration: Declaration) -> Iterator[Diagnostic]:
    """The findings that are errors."""
    return (found for found in declaration.diagnostics if found.severity is Severity.ERROR)
