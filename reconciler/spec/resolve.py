"""From an agent's own document and its templates to a complete Agent, or to the reasons why it is none.

May live here: the resolution of one agent, and the judgement of one template. Must not: know the rest of the fleet.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from reconciler.spec.lineage import Lineage, lay, whole
from reconciler.spec.nearest import Suggestions
from reconciler.spec.provenance import place
from reconciler.spec.shape import PARTIAL, Problem, bounded, problems
from reconciler.spec.templates import ChainError, parents, without_nulls
from reconciler.spec.validate import coherent, complete, secrets

_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One declared agent: `agent` is None when it is invalid; then `diagnostics` say why."""

    agent: Agent | None
    diagnostics: tuple[Diagnostic, ...]


Source = Callable[[str], bytes]
"""The bytes of a file by its path, for the source lines in findings."""


def chain_problem(document: Document, error: ChainError, suggestions: Suggestions, data: bytes) -> Diagnostic:
    """A broken chain of templates, said at the `extends` entry through which `document` reaches it."""
    first = next((name for name in error.chain if name in parents(document)), None)
    index = parents(document).index(first) if first is not None else 0
    position = locate(document, ("spec", "extends", f"[{index}]"))
    hint = suggestions.hint(error.chain[-1]) if error.code == "unknown-template" else ""
    found = diagnose(Problem(code=error.code, message=error.message, path=(), hint=hint), position, data)
    if len(error.chain) < 2:
        return found
    return dataclasses.replace(found, chain=(" -> ".join(error.chain),))


def resolve(name: AgentName, metadata: AgentMetadata, document: Document, base: Lineage, source: Source) -> Resolved:
    """Merge, judge and build one agent. Never raises."""
    own = Layer(name="", document=document)
    layers = (*base.layers, own)
    try:
        laid = lay(base, own)
    except ValidationError:
        return _invalid(_shape_problems(whole(base, own)), layers, source)
    found = list(complete(laid.body))
    if found:
        return _invalid(found, layers, source)
    spec = agent_spec(laid.built, name.namespace)
    found = list(coherent(spec))
    if found:
        return _invalid(found, layers, source)
    shown = agent_document(laid.shown, spec)
    sensitive = tuple(path for path, _ in secrets(shown))
    agent = Agent(
        name=name,
        labels=metadata.labels,
        annotations=metadata.annotations,
        spec=spec,
        document=shown,
        spec_hash=spec_hash(shown, metadata.labels, metadata.annotations),
        layers=layers,
        position=locate(document, ("metadata", "name"), key=True),
        sensitive=sensitive,
    )
    return Resolved(agent=agent, diagnostics=_warnings(sensitive, layers, source))


def _shape_problems(value: dict[str, Any]) -> list[Problem]:
    try:
        AgentBody.model_validate(value)
    except ValidationError as error:
        return problems(error, value, AgentBody)
    return []  # pragma: no cover - what is invalid field by field is invalid as a whole


def _warnings(sensitive: Sequence[FieldPath], layers: tuple[Layer, ...], source: Source) -> tuple[Diagnostic, ...]:
    found = [
        Problem(
            code="literal-secret",
            message=f"the literal value of {path[-2].strip('[]') if path[-1] == 'value' else path[-1]} looks secret",
            path=path,
            hint="give it by reference: secret: {name, key}",
        )
        for path in sensitive
    ]
    return tuple(placed(found, layers, source, severity=Severity.WARNING))


def spec_hash(document: JsonObject, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Hex SHA-256 over the canonical JSON of a resolved spec, its labels and annotations."""
    return hashlib.sha256(_canonical([document, labels, annotations])).hexdigest()


def _invalid(found: list[Problem], layers: tuple[Layer, ...], source: Source) -> Resolved:
    return Resolved(agent=None, diagnostics=tuple(placed(found, layers, source)))


def placed(
    found: Sequence[Problem], layers: tuple[Layer, ...], source: Source, *, severity: Severity = Severity.ERROR
) -> Iterator[Diagnostic]:
    """Problems of one agent at the places where its layers say what they are about."""
    for problem in bounded(found):
        position = place(layers, problem.path, key=problem.key)
        yield diagnose(problem, position, source(position.path), severity=severity)


def judge_template(document: Document, data: bytes) -> tuple[Diagnostic, ...]:
    """The shape of one template, alone: what is missing may be filled in by others."""
    spec: Any = document.value.get("spec")
    if not isinstance(spec, dict):
        return ()
    value = without_nulls(spec)
    try:
        AgentBody.model_validate(value)
    except ValidationError as error:
        found = [problem for problem in problems(error, value, AgentBody) if problem.code not in PARTIAL]
        return tuple(
            diagnose(problem, locate(document, ("spec", *problem.path), key=problem.key), data)
            for problem in bounded(found)
        )
    return ()
