"""From objects to agents' files: gather, draft, check, write; each agent by itself.

May live here: the order of the steps. Must not: know any field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.importing.checking import Unusable, settle
from reconciler.importing.consequences import consequences, is_replaced, rendered, with_losses
from reconciler.importing.families import Choice, Family, gather
from reconciler.importing.kagent import fill_from_agent, fill_from_wish
from reconciler.importing.notes import Draft, Fate, Note
from reconciler.importing.objects import KubeObject
from reconciler.importing.others import others
from reconciler.importing.told import fill_from_config
from reconciler.importing.workload import fill_from_deployment
from reconciler.importing.writing import document_of, text_of
from reconciler.model.agent import Agent
from reconciler.model.fleet import Declaration
from reconciler.model.identity import AgentName
from reconciler.model.source import Blob, Revision
from reconciler.plan.foreign import tool_of
from reconciler.spec import read_fleet

_FLEET = (
    "apiVersion: agents.codevald.io/v1\nkind: Fleet\nmetadata: {{name: {fleet}}}\nspec: {{clusters: [{clusters}]}}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller wants. `fleet` and `clusters` are those that the files are for.

    `place` names the cluster that agents are to run on, "" for wherever the fleet's default leads. `blobs` are the
    fleet's files, for templates. `chosen` says of a Deployment or kagent's Agent whether it is meant.
    """

    fleet: str = "fleet"
    clusters: tuple[str, ...] = ("local",)
    place: str = ""
    extends: tuple[str, ...] = ()
    image: str = ""
    chosen: Choice = lambda _item: True
    blobs: Mapping[str, Blob] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One agent: the text of its file, or why there is none (`problem`). `adopts`: objects are there to take over."""

    name: AgentName
    sources: tuple[str, ...]
    text: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    adopts: bool = False
    problem: str = ""

    @property
    def path(self) -> str:
        """Where the file belongs, from the fleet's folder."""
        return path_of(self.name)

    def of(self, fate: Fate) -> list[Note]:
        return [note for note in self.notes if note.fate is fate]


def path_of(name: AgentName) -> str:
    return f"agents/{name.namespace}/{name.name}.yaml"


def import_objects(objects: Iterable[KubeObject], options: Options) -> tuple[Imported, ...]:
    """The agents that are in `objects`, by name. Never raises for anything in them."""
    families = gather(objects, options.chosen)
    return tuple(_import(family, options) for family in families)


def _import(family: Family, options: Options) -> Imported:
    sources = tuple(f"{item.ref.kind} {item.ref.name}" for item in family.members)
    draft = _drafted(family, options)
    try:
        settle(draft, templates=bool(options.extends))
        agent, document = _read_back(draft, options)
    except Unusable as error:
        return Imported(name=family.name, sources=sources, problem=str(error))
    made = rendered(agent, fleet=options.fleet)
    replaced = is_replaced(family, made)
    notes = with_losses(family, draft.notes) if replaced else tuple(draft.notes)
    notes = (*notes, *others(agent, family, made, stays=draft.live and not replaced))
    notes = tuple(dict.fromkeys((*notes, *(consequences(family, made) if draft.live else ()))))
    where = ", ".join(sorted({item.source for item in family.members}))
    head = f"Imported from {', '.join(sources)} ({where})."
    text = text_of(document, head=head, notes=notes)
    return Imported(
        name=family.name, sources=sources, text=text, document=document, notes=notes, adopts="adopt" in draft.spec
    )


def _drafted(family: Family, options: Options) -> Draft:
    """Everything that the objects say, not yet judged."""
    deployment = family.deployment
    running = [item for item in family.members if item.live and item.ref.group != "kagent.dev"]
    draft = Draft(name=family.name, live=bool(running))
    if deployment is not None:
        fill_from_deployment(draft, family, deployment.body)
        fill_from_config(draft, family)
    if family.agent is not None:
        fill_from_agent(draft, family)
        if deployment is None:
            fill_from_wish(draft, family, templates=bool(options.extends))
        elif deployment.live:
            draft.to_do(
                f"Agent {family.name.name}",
                "kagent's controller would go on making this Deployment: before applying, kubectl delete "
                f"agents.kagent.dev {family.name.name} -n {family.name.namespace} --cascade=orphan",
            )
    draft.say(extends=list(options.extends), image=options.image)
    if options.place:
        draft.spec["placement"] = {"clusters": {"names": [options.place]}}
    if any(item.live for item in family.members if item is not family.agent and item is not family.model):
        draft.spec["adopt"] = True
    if "autoscaling" in draft.spec:
        draft.replicas = draft.spec.pop("replicas")
    _owners(draft, family)
    return draft


def _owners(draft: Draft, family: Family) -> None:
    """Tools that hold the objects: they would write them again."""
    for item in family.members:
        tool = tool_of(item.annotations, item.labels)
        if item.live and tool:
            text = f"it belongs to {tool}, which would go on writing it: take it out there first, without deleting it"
            draft.to_do(f"{item.ref.kind} {item.ref.name}", text)


def _read_back(draft: Draft, options: Options) -> tuple[Agent, dict[str, Any]]:
    """The agent as the reader of files understands it. Raises Unusable where that is not what was meant."""
    if "autoscaling" not in draft.spec and "replicas" not in draft.spec:
        draft.spec["replicas"] = draft.replicas
    document = document_of(draft.name, draft.labels, draft.spec)
    text = text_of(document, head="", notes=())
    declared = _declared(draft.name, text, options)
    agent = declared.agents.get(draft.name)
    if agent is None:
        frozen = declared.frozen_agents.get(draft.name)
        raise Unusable(frozen.reason if frozen else "it cannot be written as an agent's file")
    if agent.layers[-1].document.value != document:
        raise Unusable("it would be read as something else than it says")
    return agent, document


def _declared(name: AgentName, text: str, options: Options) -> Declaration:
    """The agent alone, with the fleet's templates, on clusters of the fleet's names."""
    clusters = ", ".join(f"{{name: {each}, embedded: {{run: nothing}}}}" for each in options.clusters)
    files = {
        "fleet.yaml": _FLEET.format(fleet=options.fleet, clusters=clusters).encode(),
        path_of(name): text.encode(),
    }
    blobs = {path: blob for path, blob in options.blobs.items() if path.startswith("templates/")}
    for path, data in files.items():
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        blobs[path] = Blob(id=digest, data=data)
    return read_fleet(Revision(commit=""), blobs)
