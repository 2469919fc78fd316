"""What an adoption writes over or deletes: the objects that an agent would have, against those that are there.

May live here: that comparison, and what follows from it for the notes. Must not: decide whether it is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from reconciler.importing.families import Family
from reconciler.importing.notes import Fate, Note
from reconciler.importing.objects import KubeObject
from reconciler.importing.reading import mapping
from reconciler.model.agent import Agent
from reconciler.model.objects import Manifest
from reconciler.model.plan import Missing
from reconciler.model.registry import PlacedReplicas
from reconciler.plan.judgement import replaces
from reconciler.plan.ownership import lost_fields
from reconciler.render import render
from reconciler.spec.validate import looks_secret

MAX_VALUE = 80
_TOLD_ELSEWHERE = ("metadata.", "spec.selector")
"""Whose an object is, and what it selects: an adoption says the one itself, another selector is a replacement."""
_OF_DEPLOYMENT = (
    "Deployment ", "spec.command", "spec.args", "spec.env", "spec.ports", "spec.resources", "spec.probes",
    "spec.rollout", "spec.deployment", "metadata.labels",
)  # fmt: skip
"""Notes of what a Deployment says, by how their paths begin."""
_WORDS = re.compile(r"[^.\[\]]+")


def rendered(agent: Agent, *, fleet: str) -> tuple[Manifest, ...]:
    """The objects that the agent would have on one cluster."""
    return render(agent, (PlacedReplicas(cluster="", replicas=agent.spec.min_replicas),), fleet=fleet)[""]


def is_replaced(family: Family, made: Iterable[Manifest]) -> bool:
    """Whether the Deployment that runs cannot become the agent's: it is deleted, and `made` takes its place."""
    there = family.deployment
    return (
        there is not None
        and there.live
        and any(manifest.ref == there.ref and replaces(manifest.body, there.body) for manifest in made)
    )


def with_losses(family: Family, notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes where the Deployment is replaced: what of it the file cannot say does not stay."""
    told = tuple(
        replace(note, fate=Fate.LOST) if note.fate is Fate.LEFT_OUT and note.path.startswith(_OF_DEPLOYMENT) else note
        for note in notes
    )
    if not any(note.fate is Fate.LOST for note in told):
        return told
    text = (
        "it is deleted and made anew, and what is listed as lost goes with it: before applying, move what is still "
        "needed to where an agent has it, like its image, `env` or its service account"
    )
    return (*told, Note(fate=Fate.TO_DO, path=f"Deployment {family.name.name}", text=text))


def consequences(family: Family, made: Sequence[Manifest]) -> tuple[Note, ...]:
    """Fields of live objects that have another value now than the agent would have. What is only added is not told."""
    there = {item.ref: item for item in family.members if item.live}
    found: list[Note] = []
    for manifest in made:
        item = there.get(manifest.ref)
        if item is not None:
            found += _differences(manifest, item)
    return tuple(found)


def _differences(manifest: Manifest, item: KubeObject) -> Iterator[Note]:
    """One note a field. What is of no shape that a server has cannot be compared, and nobody can adopt it either."""
    metadata = {key: value for key, value in mapping(item.body, "metadata").items() if key != "managedFields"}
    try:
        lost = lost_fields(manifest.body, {**item.body, "metadata": metadata}, changed=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    for field in lost:
        if field.live is Missing.FIELD or field.path.startswith(_TOLD_ELSEWHERE):
            continue
        secret = any(map(looks_secret, _WORDS.findall(field.path)))
        live = "(not shown)" if secret else _shown(field.live)
        text = f"{live} goes" if field.wanted is Missing.FIELD else f"{live} becomes {_shown(field.wanted)}"
        yield Note(fate=Fate.CHANGES, path=f"{manifest.ref.kind} {field.path}", text=text)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
