"""What `import` reads and writes: objects from files and clusters, and the files of agents in a fleet's folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.command import invocation
from reconciler.cli.files import write_atomically
from reconciler.cli.fleets import Session, locate, opened, read_working_tree, run
from reconciler.cli.output import few, note, one_line
from reconciler.importing import KINDS, Imported, KubeObject, Options, import_objects, of_live, read_objects
from reconciler.model.errors import ClusterError, UsageError
from reconciler.model.fleet import Declaration, FleetSpec
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, LiveSet, Scope, Unreadable
from reconciler.model.source import Blob, Diagnostic
from reconciler.query.selectors import Requirement

MAX_BYTES = 32 * 1024 * 1024
MAX_FILES = 2000
MAX_OTHERS = 20
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says: `names` are (kind, name), kind "" for any; nothing is everything."""

    names: frozenset[tuple[str, str]]
    namespace: str
    requirements: tuple[Requirement, ...]
    extends: tuple[str, ...]
    image: str
    force: bool = False

    def means(self, item: KubeObject) -> bool:
        """Whether a Deployment or an Agent of kagent is asked for."""
        ref = item.ref
        named = not self.names or bool({(ref.kind, ref.name), ("", ref.name)} & self.names)
        labels = {key: value for key, value in item.labels.items() if isinstance(value, str)}
        return named and all(one.matches(labels) for one in self.requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Objects, and the fleet that they are for. `place` is the cluster that they were read from, "" for files."""

    objects: tuple[KubeObject, ...]
    fleet: FleetSpec
    blobs: dict[str, Blob]
    place: str = ""
    declared: frozenset[AgentName] = frozenset()
    """What of a cluster stands in the fleet's files already."""
    findings: tuple[Diagnostic, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    name: str
    reason: str


def read_files(files: Iterable[Path], asked: Asked) -> Reading:
    """Objects from files, folders and standard input. Raises UsageError for what cannot be read at all."""
    declaration, blobs = run(_fleet())
    objects: list[KubeObject] = []
    findings: list[Diagnostic] = []
    for shown, data in _sources(files):
        found, wrong = read_objects(shown, data, namespace=asked.namespace)
        objects += found
        findings += [each for each in wrong if each.code != "empty-file"]
        for each in wrong:
            hint = f" ({each.hint})" if each.hint and each.code != "empty-file" else ""
            note(f"{each.position}: {one_line(each.message)}{hint}")
    return Reading(
        objects=tuple(objects),
        fleet=_spec(declaration),
        blobs=blobs,
        findings=tuple(findings),
        remarks=others(objects, asked),
    )


def others(objects: Iterable[KubeObject], asked: Asked) -> tuple[str, ...]:
    """Objects of kinds that no agent is made of: whoever imports a folder might think that they are in."""
    known = {(group, kind) for group, _, kind in KINDS}
    found = [item.ref for item in objects if (item.ref.group, item.ref.kind) not in known and asked.means(item)]
    if not found or asked.names:
        return ()
    shown = few(sorted(found), MAX_OTHERS, lambda ref: one_line(str(ref), 120))
    return (f"no agent is made of these, so they are in no file: {shown}",)


async def _fleet() -> tuple[Declaration, dict[str, Blob]]:
    async with opened(working_tree=True) as session:
        return await _declared(session)


async def _declared(session: Session) -> tuple[Declaration, dict[str, Blob]]:
    revision = await session.world.source.revision("")
    blobs = dict(await session.world.source.blobs(revision))
    return await session.declaration(), blobs


def _spec(declaration: Declaration) -> FleetSpec:
    if declaration.fleet is None:
        raise UsageError("fleet.yaml cannot be used", hint="`reconciler validate` says why")
    return declaration.fleet


def _sources(files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    here = invocation().folder()
    for path in files:
        if str(path) == "-":
            yield "stdin", _bounded(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input")
        elif (here / path).is_dir():
            yield from ((str(path / each), _read(here / path / each)) for each in _inside(here / path))
        else:
            yield str(path), _read(here / path)


def _inside(folder: Path) -> list[Path]:
    """Files of objects in a folder, hidden ones and links left alone."""
    found = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _SUFFIXES
        and path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise UsageError(f"there is no {', '.join(_SUFFIXES)} in {str(folder)[:200]}")
    if len(found) > MAX_FILES:
        raise UsageError(f"{str(folder)[:200]} has more than {MAX_FILES} files", hint="name a folder further down")
    return found


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UsageError(f"{str(path)[:300]} is no file or folder", hint="- is standard input")
        with path.open("rb") as stream:
            return _bounded(stream.read(MAX_BYTES + 1), str(path)[:300])
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {str(path)[:300]}: {error}") from error


def _bounded(data: bytes, what: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise UsageError(f"{what} has more than {MAX_BYTES >> 20} MiB", hint="import fewer at once: -l, or by name")
    return data


async def read_cluster(name: str, asked: Asked) -> Reading:
    """Objects of a cluster of the fleet. Raises UsageError for one that is not declared, ClusterError else."""
    async with opened(working_tree=True) as session:
        declaration, blobs = await _declared(session)
        fleet = _spec(declaration)
        stores = await session.stores()
        if name not in stores.clusters:
            known = ", ".join(stores.clusters)
            raise UsageError(f"no cluster '{one_line(name, 60)}' is declared", hint=f"there is: {known}")
        cluster = stores.clusters[name]
        scope = Scope(kinds=KINDS, namespaces=frozenset({asked.namespace}) if asked.namespace else None)
        answer = cluster if isinstance(cluster, Unreadable) else await cluster.observe(scope)
    live = _readable(name, answer)
    unread = [
        f"{kind} objects cannot be read, so they are not looked at: {why}" for (kind, _), why in live.unreadable.items()
    ]
    return Reading(
        objects=of_live(live.objects.values(), name),
        fleet=fleet,
        blobs=blobs,
        place=name if len(fleet.clusters) > 1 else "",
        declared=frozenset(declaration.agents.keys() | declaration.frozen_agents.keys()),
        remarks=tuple(sorted(unread)),
    )


def _readable(name: str, answer: Found[LiveSet] | Absent | Unreadable) -> LiveSet:
    match answer:
        case Found(value=live):
            blind = [why for (kind, _), why in live.unreadable.items() if kind == "Deployment"]
            if blind:
                raise ClusterError(f"Deployments of {name} cannot be read: {blind[0]}")
            return live
        case Unreadable(reason=reason):
            raise ClusterError(f"the cluster {name} cannot be read: {reason}")
        case Absent():
            return LiveSet(objects={})


def agents_of(reading: Reading, asked: Asked) -> tuple[tuple[Imported, ...], tuple[AgentName, ...]]:
    """The agents in what was read, and those that are left alone: the fleet has them, and nobody named them.

    Raises UsageError where there is none at all.
    """
    found = import_objects(
        reading.objects,
        Options(
            fleet=reading.fleet.name,
            clusters=tuple(cluster.name for cluster in reading.fleet.clusters),
            place=reading.place,
            extends=asked.extends,
            image=asked.image,
            chosen=asked.means,
            blobs=reading.blobs,
        ),
    )
    if not found and not reading.findings:
        kinds = ", ".join(sorted({item.ref.kind for item in reading.objects})) or "nothing"
        raise UsageError(
            "there is no Deployment, and no Agent of kagent, among what was read and asked for",
            hint=f"what was read: {one_line(kinds)}",
        )
    ours = frozenset() if asked.names or asked.force else reading.declared
    return tuple(one for one in found if one.name not in ours), tuple(one.name for one in found if one.name in ours)


def left_alone(names: Sequence[AgentName]) -> str:
    """What is said of agents that a cluster runs and the fleet has."""
    return (
        f"{few(names, MAX_OTHERS, str)} stand{'s' if len(names) == 1 else ''} in this fleet already and "
        f"{'is' if len(names) == 1 else 'are'} left alone; who names one, or says --force, means it all the same"
    )


def store(found: Sequence[Imported], *, force: bool) -> tuple[list[Imported], list[Failed]]:
    """Write agents' files into the fleet: those that were written, and those that were not, with the reason.

    Raises UsageError where the fleet has no files here.
    """
    location = locate()
    if location.followed:
        raise UsageError(
            f"{location.root} holds only a mirror of {location.followed.url}: a file here would be in no commit",
            hint="import in a clone of it, or print the files with --dry-run",
        )
    declaration, root = run(read_working_tree()), location.root
    written, refused = [], []
    for one in found:
        agent = declaration.agents.get(one.name)
        there = agent.position.path if agent else ""
        target = root / one.path
        if there and there != one.path:
            refused.append(Failed(name=str(one.name), reason=f"the fleet declares it already, in {there}"))
        elif any(path.is_symlink() for path in (target.parent.parent, target.parent, target)):
            refused.append(Failed(name=str(one.name), reason=f"{one.path} leads through a link"))
        elif target.exists() and not force:
            refused.append(Failed(name=str(one.name), reason=f"{one.path} is there already; --force replaces it"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, one.text.encode())
            written.append(one)
    return written, refused
