"""Taking out of a draft what no agent's file may hold: by the rules that files are judged by themselves.

May live here: the loop of judging and taking out. Must not: have rules of its own about any field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from reconciler.importing.notes import Draft
from reconciler.model.identity import FieldPath, format_path
from reconciler.spec.authoring import AgentBody, AgentMetadata
from reconciler.spec.build import agent_spec, parts
from reconciler.spec.documents import item_name
from reconciler.spec.shape import Problem, problems
from reconciler.spec.validate import coherent, complete

_WHOLE = frozenset(
    {"command", "args", "autoscaling", "modelConfig", "disruption", "image", "description", "systemMessage", "replicas"}
)
"""Fields that are as a whole, or not at all: half a command is another command."""
_DEEP = {"probes": 2, "rollout": 2, "deployment": 2, "resources": 3}
"""How much of the path is taken out, where that is less than all of it."""
MAX_ROUNDS = 200


class Unusable(Exception):
    """No agent can be made of it, and why."""


def settle(draft: Draft, *, templates: bool) -> None:
    """Take out what cannot stand in a file, and note it. Raises Unusable where nothing is left to stand on.

    With `templates` a file may lack what they say.
    """
    if not draft.name.namespace:
        raise Unusable("it says no namespace: name one with -n")
    _metadata(draft)
    for _ in range(MAX_ROUNDS):
        found = next(_problems(draft, templates=templates), None)
        if found is None:
            return
        _take_out(draft, found)
    raise Unusable("too much of it can stand in no agent's file")


def _metadata(draft: Draft) -> None:
    name = {"name": draft.name.name, "namespace": draft.name.namespace}
    try:
        AgentMetadata.model_validate(name)
    except ValidationError as error:
        problem = problems(error, name, AgentMetadata)[0]
        raise Unusable(f"{problem.message}: an agent is called as its Deployment, and cannot be called this") from None
    for key, value in list(draft.labels.items()):
        try:
            AgentMetadata.model_validate({**name, "labels": {key: value}})
        except ValidationError:
            draft.left(f"metadata.labels.{key}", "an agent cannot have this label")
            del draft.labels[key]


def _problems(draft: Draft, *, templates: bool) -> Iterator[Problem]:
    spec = draft.spec
    try:
        body = AgentBody.model_validate(spec)
    except ValidationError as error:
        yield from problems(error, spec, AgentBody)
        return
    for problem in complete(body):
        if problem.code == "missing-field" and not problem.path:
            if not templates:
                raise Unusable("no image is said: name one with --image, or a template that has one with --extends")
            continue
        yield problem
    if templates:
        return  # what a template says counts too: the reader of files judges both together
    built, _ = parts(body, AgentBody.model_fields.keys() - {"extends"})
    yield from coherent(agent_spec(built, draft.name.namespace))


def _take_out(draft: Draft, problem: Problem) -> None:
    """Remove the smallest part around a problem that may go by itself."""
    path = _part(problem.path or ("image",))
    draft.left(f"spec.{format_path(path)}", f"{problem.message}" + (f" ({problem.hint})" if problem.hint else ""))
    if not _remove(draft.spec, path):
        raise Unusable(f"{format_path(problem.path) or 'it'}: {problem.message}")


def _part(path: FieldPath) -> FieldPath:
    if path[0] in _WHOLE:
        return path[:1]
    if path[0] in _DEEP:
        return path[: _DEEP[path[0]]]
    for index, step in enumerate(path):
        if step.startswith("["):
            return path[: index + 1]
    return path


def _remove(value: Any, path: FieldPath) -> bool:
    """Remove what stands at a path, and what is empty without it; whether it was there."""
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        index = _index(value, first)
        if index is None:
            return False
        if not rest or not _remove(value[index], rest):
            del value[index]
        return True
    if not isinstance(value, dict) or first not in value:
        return False
    if not rest or not _remove(value[first], rest) or value[first] in ({}, []):
        del value[first]
    return True


def _index(items: list[Any], step: str) -> int | None:
    label = step.strip("[]")
    for index, item in enumerate(items):
        if label in (str(index), item_name(item)):
            return index
    return None
