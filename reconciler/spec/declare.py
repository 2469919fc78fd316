"""A whole revision: every file read, every agent resolved, agents judged among each other.

May live here: the step from the revision that a cache knows to another, and the Declaration at its end. Must not: know
what becomes of agents after they are declared.

There is one way to read: the difference to what the cache holds. A first reading differs in everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from reconciler.model.agent import Agent
from reconciler.model.differing import differing, patched
from reconciler.model.fleet import Declaration, FleetSpec, Frozen
from reconciler.model.identity import AgentName
from reconciler.model.source import Blob, Diagnostic, Document, Position, Revision, Severity
from reconciler.spec.among import judged
from reconciler.spec.documents import locate
from reconciler.spec.files import FLEET_FILE, AgentEntry, FileReading, diagnose, is_read, read_file
from reconciler.spec.fleetfile import read_fleet_document
from reconciler.spec.lineage import Lineage, lineage
from reconciler.spec.nearest import Suggestions
from reconciler.spec.resolve import Resolved, chain_problem, judge_template, resolve
from reconciler.spec.shape import Problem
from reconciler.spec.templates import Chain, ChainError, chain_of, malformed_extends, parents, stacked

_Found = tuple[Diagnostic, ...]
_FLEET = ("fleet", "")
_NO_FLEET_HINT = "`reconciler init` writes one; it names the fleet and its clusters"


@dataclass(slots=True)
class SpecCache:
    """What the last reading knew, so that the next one does only what changed.

    All of it follows from the blobs, compared by id: it can be cold, never wrong. One cache serves one repository;
    give the same one to every `read_fleet`, one call at a time.
    """

    blobs: Mapping[str, Blob] = field(default_factory=dict)
    """By path, those of ignored files too."""
    files: dict[str, FileReading] = field(default_factory=dict)
    entries: dict[AgentName, tuple[AgentEntry, ...]] = field(default_factory=dict)
    extending: dict[str, set[AgentName]] = field(default_factory=dict)
    """Template name to the agents whose `extends` names it, whether it exists or not."""
    template_files: set[str] = field(default_factory=set)
    templates: dict[str, Document] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    lineages: dict[tuple[str, ...], Lineage | ChainError] = field(default_factory=dict)
    resolved: dict[AgentName, Resolved] = field(default_factory=dict)
    invalid: set[AgentName] = field(default_factory=set)
    """Of the resolved ones, those that are no agent."""
    fleet: FleetSpec | None = None
    among: dict[AgentName, _Found] = field(default_factory=dict)
    noise: dict[object, _Found] = field(default_factory=dict)
    """Findings by what they speak of: a path, a template, an agent. What is clean is not in here."""
    declaration: Declaration | None = None

    def source(self, path: str) -> bytes:
        """The bytes of a file that was read."""
        reading = self.files.get(path)
        return reading.data if reading else b""

    def note(self, about: object, found: _Found) -> None:
        """Keep the findings about something, in place of those of before."""
        if found:
            self.noise[about] = found
        else:
            self.noise.pop(about, None)


def read_fleet(revision: Revision, blobs: Mapping[str, Blob], *, cache: SpecCache | None = None) -> Declaration:
    """All that one revision declares. Mistakes are collected in the Declaration, never raised.

    `blobs` are the files of the fleet's folder by path. Positions carry the commit in which a blob was first read.
    """
    state = cache if cache is not None else SpecCache()
    try:
        state.declaration = _Step(revision, state).run(blobs)
    except BaseException:
        state.__init__()  # type: ignore[misc] # half a step is worth nothing: the next reading begins anew
        raise
    return state.declaration


class _Step:
    """From what the cache knows to one revision."""

    def __init__(self, revision: Revision, cache: SpecCache) -> None:
        self.revision, self.cache = revision, cache
        self.names: set[AgentName] = set()
        """Agents to resolve anew."""
        self.regrouped = False
        """Whether what agents are judged by among each other is another than before."""
        self.relined = False
        """Whether some agent stands on other templates than before."""

    def run(self, blobs: Mapping[str, Blob]) -> Declaration:
        cache = self.cache
        before = cache.declaration
        changed = self._changed(blobs)
        if before is not None and not changed:
            return dataclasses.replace(before, revision=self.revision)
        templates, fleet = self._read(changed, blobs)
        if templates:
            self.relined = True
            self._templates()
        if fleet or before is None:
            self._fleet()
        self._resolve()
        if self.regrouped:
            self._among()
        return self._declaration(before)

    def _changed(self, blobs: Mapping[str, Blob]) -> list[str]:
        """Paths of the fleet whose content changed, came or went, sorted."""
        changed = differing(self.cache.blobs, blobs, _same_blob)
        self.cache.blobs = blobs
        files = self.cache.files
        return sorted(path for path in changed if path in files or (path in blobs and is_read(path, blobs[path])))

    def _read(self, changed: list[str], blobs: Mapping[str, Blob]) -> tuple[bool, bool]:
        """Read the changed files. Whether templates, and whether the fleet, are touched by them."""
        cache = self.cache
        templates = fleet = False
        for path in changed:
            old = cache.files.pop(path, None)
            blob = blobs.get(path)
            new = read_file(path, blob, self.revision.commit) if blob and is_read(path, blob) else None
            if new is not None:
                cache.files[path] = new
            cache.note(path, new.diagnostics if new else ())
            for reading in (old, new):
                if reading is not None:
                    templates = templates or bool(reading.templates)
                    fleet = fleet or bool(reading.fleets) or path == FLEET_FILE
            if bool(old and old.unreadable) != bool(new and new.unreadable):
                # Hints for unknown templates name files that cannot be read: findings may now say something else.
                templates = True
                self.names |= cache.invalid
            cache.template_files.discard(path)
            if new is not None and new.templates:
                cache.template_files.add(path)
            self._exchange(old.agents if old else (), new.agents if new else (), path)
        return templates, fleet

    def _exchange(self, old: tuple[AgentEntry, ...], new: tuple[AgentEntry, ...], path: str) -> None:
        """Agents that a file no longer declares as before, and those that it declares now."""
        cache = self.cache
        entries = cache.entries
        lines = [{(entry.name, parents(entry.document)) for entry in side} for side in (old, new)]
        self.relined = self.relined or lines[0] != lines[1]
        for entry in old:
            self.names.add(entry.name)
            rest = tuple(other for other in entries.pop(entry.name, ()) if other.document.path != path)
            if rest:
                entries[entry.name] = rest
            for parent in parents(entry.document):
                cache.extending[parent].discard(entry.name)
        for entry in new:
            self.names.add(entry.name)
            entries[entry.name] = (*entries.get(entry.name, ()), entry)
        for name in {entry.name for entry in (*old, *new)}:
            for entry in entries.get(name, ()):
                for parent in parents(entry.document):
                    cache.extending.setdefault(parent, set()).add(name)

    def _templates(self) -> None:
        """Templates by name; one that is declared twice counts nowhere, so that nothing depends on file order."""
        cache, old = self.cache, self.cache.templates
        declared: dict[str, list[Document]] = {}
        for path in sorted(cache.template_files):
            for name, document in cache.files[path].templates:
                declared.setdefault(name, []).append(document)
        new = {name: documents[0] for name, documents in declared.items() if len(documents) == 1}
        touched = {name for name in old.keys() | new.keys() if old.get(name) is not new.get(name)}
        touched |= {name for name, documents in declared.items() if len(documents) > 1}
        touched |= {name for about in cache.noise if isinstance(about, tuple) and (name := about[1])}
        touched = _closure(touched, (*old.items(), *new.items()))
        cache.templates = new
        cache.chains = {name: layers for name, layers in cache.chains.items() if name not in touched}
        cache.lineages = {names: known for names, known in cache.lineages.items() if touched.isdisjoint(names)}
        suggestions = self._suggestions()
        for name in sorted(touched):
            self.names |= cache.extending.get(name, set())
            documents = declared.get(name, [])
            if len(documents) == 1:
                cache.note(("template", name), self._template(name, documents[0], suggestions))
            else:
                cache.note(("template", name), self._twice(f"the template {name!r}", documents) if documents else ())

    def _suggestions(self) -> Suggestions:
        """Hints for unknown templates: the file that should hold it and cannot be read, or a name like it."""
        broken = [path for path, reading in self.cache.files.items() if reading.unreadable] if self.cache.noise else []
        notes = {PurePosixPath(path).stem: f"{path} cannot be read" for path in sorted(broken)}
        return Suggestions(self.cache.templates, notes)

    def _template(self, name: str, document: Document, suggestions: Suggestions) -> _Found:
        cache = self.cache
        data = cache.source(document.path)
        found = judge_template(document, data)
        if malformed_extends(document):
            return found
        try:
            chain_of(name, cache.templates, asked=(), known=cache.chains)
        except ChainError as error:
            return (*found, chain_problem(document, error, suggestions, data))
        return found

    def _twice(self, what: str, documents: Iterable[Document]) -> _Found:
        places = sorted(locate(document, ("metadata", "name")) for document in documents)
        found = []
        for position in places:
            others = ", ".join(str(other) for other in places[:4] if other != position)
            problem = Problem(code="declared-twice", message=f"{what} is declared here and at {others}", path=())
            found.append(diagnose(problem, position, self.cache.source(position.path)))
        return tuple(found)

    def _fleet(self) -> None:
        cache = self.cache
        before, cache.fleet = cache.fleet, None
        found: _Found = ()
        documents = [document for _, reading in sorted(cache.files.items()) for document in reading.fleets]
        home = [document for document in documents if document.path == FLEET_FILE]
        reading = cache.files.get(FLEET_FILE)
        if len(documents) > 1:
            found = self._twice("a Fleet", documents)
        elif home:
            fleet, found = read_fleet_document(home[0], cache.source(FLEET_FILE))
            cache.fleet = fleet if reading is not None and not reading.diagnostics else None
        elif reading is None or not reading.unreadable:
            hint = f"the one in {documents[0].path} belongs there" if documents else _NO_FLEET_HINT
            problem = Problem(code="no-fleet", message="no Fleet is declared in fleet.yaml", path=(), hint=hint)
            found = (diagnose(problem, Position(path=FLEET_FILE), cache.source(FLEET_FILE)),)
        cache.note(_FLEET, found)
        if before is None or cache.fleet is None or before.clusters != cache.fleet.clusters:
            self.regrouped = True

    def _resolve(self) -> None:
        cache = self.cache
        suggestions = self._suggestions()
        for name in sorted(self.names, key=_by_name):
            old = cache.resolved.pop(name, None)
            entries = cache.entries.get(name)
            new = self._one(name, entries, suggestions) if entries else None
            cache.invalid.discard(name)
            if new is not None:
                cache.resolved[name] = new
                if new.agent is None:
                    cache.invalid.add(name)
            cache.note(name, new.diagnostics if new else ())
            self._compare(name, old.agent if old else None, new.agent if new else None, (old is None) != (new is None))

    def _compare(self, name: AgentName, old: Agent | None, new: Agent | None, came_or_went: bool) -> None:  # noqa: FBT001 - private
        if came_or_went or name in self.cache.among:
            self.regrouped = True
        if old is None or new is None:
            self.regrouped = self.regrouped or old is not new
            return
        if old.spec.depends_on != new.spec.depends_on or old.spec.placement.clusters != new.spec.placement.clusters:
            self.regrouped = True

    def _one(self, name: AgentName, entries: tuple[AgentEntry, ...], suggestions: Suggestions) -> Resolved:
        cache = self.cache
        if len(entries) > 1:
            found = self._twice(f"the agent {name}", [entry.document for entry in entries])
            return Resolved(agent=None, diagnostics=found)
        entry = entries[0]
        if entry.metadata is None:
            return Resolved(agent=None, diagnostics=entry.broken)
        names = parents(entry.document)
        base = cache.lineages.get(names)
        if base is None:
            try:
                base = lineage(stacked(names, cache.templates, asked=(), known=cache.chains)[0])
            except ChainError as error:
                base = error
            cache.lineages[names] = base
        if isinstance(base, ChainError):
            found = (chain_problem(entry.document, base, suggestions, cache.source(entry.document.path)),)
            return Resolved(agent=None, diagnostics=found)
        return resolve(name, entry.metadata, entry.document, base, cache.source)

    def _among(self) -> None:
        cache = self.cache
        before = cache.among
        valid = [one.agent for one in cache.resolved.values() if one.agent is not None]
        cache.among = judged(valid, declared=cache.resolved.keys(), fleet=cache.fleet, source=cache.source)
        self.names |= before.keys() ^ cache.among.keys()

    def _valid(self, name: AgentName) -> Agent | None:
        one = self.cache.resolved.get(name)
        return one.agent if one is not None and name not in self.cache.among else None

    def _agents(self, before: Declaration | None) -> dict[AgentName, Agent]:
        names = self.names if before is not None else sorted(self.names, key=_by_name)
        found = {name: self._valid(name) for name in names}
        if before is not None:
            return patched(before.agents, found, _by_name)
        return {name: agent for name, agent in found.items() if agent is not None}

    def _declaration(self, before: Declaration | None) -> Declaration:
        cache = self.cache
        return Declaration(
            revision=self.revision,
            fleet=cache.fleet,
            agents=self._agents(before),
            frozen_agents=self._frozen(),
            frozen_paths={
                path: Frozen(reason=reading.unreadable[0].message, diagnostics=reading.unreadable, words=reading.words)
                for path, reading in sorted(cache.files.items() if cache.noise else ())
                if reading.unreadable
            },
            templates=_radius(cache) if before is None or self.relined else before.templates,
            diagnostics=_sorted(cache),
            files=len(cache.files),
        )

    def _frozen(self) -> dict[AgentName, Frozen]:
        cache = self.cache
        why = {name: cache.resolved[name].diagnostics for name in cache.invalid} | cache.among
        return {
            name: Frozen(
                reason=why[name][0].message if why[name] else "invalid",
                diagnostics=why[name],
                paths=tuple(sorted(entry.document.path for entry in cache.entries[name])),
            )
            for name in sorted(why, key=_by_name)
        }


def _closure(names: set[str], documents: Iterable[tuple[str, Document]]) -> set[str]:
    """The named templates and all that stand on them, directly or not."""
    users: dict[str, set[str]] = {}
    for name, document in documents:
        for parent in parents(document):
            users.setdefault(parent, set()).add(name)
    reached, waiting = set(names), list(names)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in reached:
                reached.add(user)
                waiting.append(user)
    return reached


def _same_blob(one: Blob, other: Blob) -> bool:
    return (one.id, one.mode) == (other.id, other.mode)


def _by_name(name: AgentName) -> tuple[str, str]:
    return name.namespace, name.name


def _radius(cache: SpecCache) -> dict[str, frozenset[AgentName]]:
    """Each template with the agents that inherit from it: frozen ones too, and of templates that are missing."""
    asked = {name for name, agents in cache.extending.items() if agents}
    asked.update(parent for document in cache.templates.values() for parent in parents(document))
    result = {}
    for template in sorted(asked | cache.templates.keys()):
        users = (cache.extending.get(name, ()) for name in _closure({template}, cache.templates.items()))
        result[template] = frozenset().union(*users)
    return result


def _sorted(cache: SpecCache) -> _Found:
    """All findings in the order of files and lines, each once."""
    unique = {}
    for found in (*cache.noise.values(), *cache.among.values()):
        for one in found:
            at = one.position
            unique[at.path, at.line, at.column, one.code, one.message] = one
    return tuple(unique[key] for key in sorted(unique))


def errors(declaration: Declaration) -> Iterator[Diagnostic]:
    """The findings that are errors."""
    return (found for found in declaration.diagnostics if found.severity is Severity.ERROR)
