"""From an agent's own document and its templates to a complete Agent, or to the reasons why it is none.

May live here: the resolution of one agent, and the judgement of one template. Must not: know the rest of the fleet.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName, FieldPath
from reconciler.model.source import Diagnostic, Document, JsonObject, Layer, Severity
from reconciler.spec.authoring import AgentBody, AgentMetadata
from reconciler.spec.build import agent_document, agent_spec
from reconciler.spec.documents import locate
from reconciler.spec.files import diagnose
from reconciler.spec.nearest import did_you_mean
from reconciler.spec.provenance import place
from reconciler.spec.shape import PARTIAL, Problem, problems
from reconciler.spec.templates import ChainError, chain_of, merged, parents, without_nulls
from reconciler.spec.validate import coherent, complete, literals

_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One declared agent: `agent` is None when it is invalid; then `diagnostics` say why."""

    agent: Agent | None
    diagnostics: tuple[Diagnostic, ...]


class Sources:
    """The bytes of files by path, for the source lines in findings."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, path: str, data: bytes) -> None:
        self._data[path] = data

    def get(self, path: str) -> bytes:
        return self._data.get(path, b"")


def layers_of(
    document: Document, templates: Mapping[str, Document], known: dict[str, tuple[Layer, ...]]
) -> tuple[Layer, ...]:
    """The layers of an agent, its own file last. Raises ChainError."""
    layers: dict[str, Layer] = {}
    for parent in parents(document):
        for layer in chain_of(parent, templates, asked=(), known=known):
            layers.setdefault(layer.name, layer)
    return (*layers.values(), Layer(name="", document=document))


def chain_problem(document: Document, error: ChainError, templates: Mapping[str, Document], data: bytes) -> Diagnostic:
    """A broken chain of templates, said at the `extends` entry through which `document` reaches it."""
    first = next((name for name in error.chain if name in parents(document)), None)
    index = parents(document).index(first) if first is not None else 0
    position = locate(document, ("spec", "extends", f"[{index}]"))
    hint = did_you_mean(error.chain[-1], templates) if error.code == "unknown-template" else ""
    found = diagnose(Problem(code=error.code, message=error.message, path=(), hint=hint), position, data)
    if len(error.chain) < 2:
        return found
    return dataclasses.replace(found, chain=(" -> ".join(error.chain),))


def resolve(name: AgentName, metadata: AgentMetadata, layers: tuple[Layer, ...], sources: Sources) -> Resolved:
    """Merge, judge and build one agent. Never raises."""
    value = without_nulls(merged(layers))
    try:
        body = AgentBody.model_validate(value)
    except ValidationError as error:
        return _invalid(problems(error, value, AgentBody), layers, sources)
    found = list(complete(body))
    if found:
        return _invalid(found, layers, sources)
    spec = agent_spec(body, name.namespace)
    found = list(coherent(spec))
    if found:
        return _invalid(found, layers, sources)
    document = agent_document(body, spec)
    sensitive = tuple(literals(body))
    own = layers[-1].document
    agent = Agent(
        name=name,
        labels=metadata.labels,
        annotations=metadata.annotations,
        spec=spec,
        document=document,
        spec_hash=spec_hash(document, metadata.labels, metadata.annotations),
        layers=layers,
        position=locate(own, ("metadata", "name"), key=True),
        sensitive=sensitive,
    )
    return Resolved(agent=agent, diagnostics=tuple(_warning(path, layers, sources) for path in sensitive))


def _warning(path: FieldPath, layers: tuple[Layer, ...], sources: Sources) -> Diagnostic:
    what = path[-2].strip("[]") if path[-1] == "value" else path[-1]
    position = place(layers, path)
    problem = Problem(
        code="literal-secret",
        message=f"the literal value of {what} looks secret",
        path=path,
        hint="give it by reference: secret: {name, key}",
    )
    return diagnose(problem, position, sources.get(position.path), severity=Severity.WARNING)


def spec_hash(document: JsonObject, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Hex SHA-256 over the canonical JSON of a resolved spec, its labels and annotations."""
    return hashlib.sha256(_canonical([document, labels, annotations])).hexdigest()


def _invalid(found: list[Problem], layers: tuple[Layer, ...], sources: Sources) -> Resolved:
    diagnostics = []
    for problem in found:
        position = place(layers, problem.path, key=problem.key)
        diagnostics.append(diagnose(problem, position, sources.get(position.path)))
    return Resolved(agent=None, diagnostics=tuple(diagnostics))


def judge_template(document: Document, data: bytes) -> tuple[Diagnostic, ...]:
    """The shape of one template, alone: what is missing may be filled in by others."""
    spec: Any = document.value.get("spec")
    if not isinstance(spec, dict):
        return ()
    value = without_nulls(spec)
    try:
        AgentBody.model_validate(value)
    except ValidationError as error:
        return tuple(
            diagnose(problem, locate(document, ("spec", *problem.path), key=problem.key), data)
            for problem in problems(error, value, AgentBody)
            if problem.code not in PARTIAL
        )
    return ()
