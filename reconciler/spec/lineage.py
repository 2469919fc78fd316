"""What a line of templates gives to every agent on it: merged, validated and built once.

May live here: the share of templates in an agent, and laying one agent's own file on it. Must not: judge an agent as
a whole, or know where values were written.

Fields of a body are independent of each other, so those that an agent leaves as its templates have them are taken
over as built; only what its own file touches is validated and built for it. That is most of the speed of reading a
large fleet, and of its size in memory: agents on one template share the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from reconciler.model.source import Layer
from reconciler.spec.authoring import AgentBody
from reconciler.spec.build import ALIASES, FIELDS, parts
from reconciler.spec.templates import merge, merged, without_nulls, written_spec

_NAMES = {alias: name for name, alias in ALIASES.items()}
_DEFAULT = AgentBody()
_DEFAULT_BUILT, _DEFAULT_SHOWN = parts(_DEFAULT, FIELDS)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Templates, farthest first. `unfit` names fields that are not valid before an agent has its say."""

    layers: tuple[Layer, ...]
    value: Mapping[str, Any]
    unfit: frozenset[str]
    body: AgentBody
    built: Mapping[str, Any]
    shown: Mapping[str, Any]


def lineage(layers: tuple[Layer, ...]) -> Lineage:
    """The share of these templates."""
    value = without_nulls(merged(layers))
    body, unfit = _fit(value)
    built, shown = parts(body, FIELDS)
    return Lineage(layers, value, unfit, body, built, shown)


def _fit(value: Mapping[str, Any]) -> tuple[AgentBody, frozenset[str]]:
    """The body of all fields that are valid as they are, and the names of the others."""
    try:
        return AgentBody.model_validate(value), frozenset()
    except ValidationError as error:
        unfit = frozenset(str(detail["loc"][0]) for detail in error.errors(include_url=False, include_context=False))
    return AgentBody.model_validate({key: item for key, item in value.items() if key not in unfit}), unfit


@dataclass(frozen=True, slots=True)
class Laid:
    """An agent laid on its lineage: a valid body, and its parts."""

    body: AgentBody
    built: Mapping[str, Any]
    shown: Mapping[str, Any]


def lay(base: Lineage, own: Layer) -> Laid:
    """One agent's own file on its templates. Raises ValidationError when some field is not valid."""
    given = merge(base.value, written_spec(own.document))
    changed, gone = {}, []
    for key, item in given.items():
        if base.value.get(key) is not item or key in base.unfit:
            kept = without_nulls(item)
            if kept is not None:
                changed[key] = kept
            elif key in base.value:
                gone.append(key)
    gone = [key for key in (*gone, *(key for key in base.value if key not in given)) if key in _NAMES]
    touched = AgentBody.model_validate(changed)
    fields = touched.model_fields_set
    built, shown = parts(touched, fields)
    values = {name: getattr(touched, name) for name in fields}
    all_built, all_shown = {**base.built, **built}, {**base.shown, **shown}
    for key in gone:
        name = _NAMES[key]
        values[name] = getattr(_DEFAULT, name)
        all_built[FIELDS[name][0]] = _DEFAULT_BUILT[FIELDS[name][0]]
        all_shown.pop(key, None)
        if key in _DEFAULT_SHOWN:
            all_shown[key] = _DEFAULT_SHOWN[key]
    return Laid(base.body.model_copy(update=values), all_built, all_shown)


def whole(base: Lineage, own: Layer) -> dict[str, Any]:
    """The merged value of an agent, for those who say what is wrong with it."""
    value: dict[str, Any] = without_nulls(merge(base.value, written_spec(own.document)))
    return value
