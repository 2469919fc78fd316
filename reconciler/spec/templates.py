"""Templates: merging layers of mappings, and walking what extends what.

May live here: the merge rules and the walk. Must not: know models, defaults or files.

Rules: mappings merge by key; lists whose items are all named merge by name; other lists replace; null removes what a
layer below set; where a mapping takes one of several alternatives, the layer above chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model.source import Document, Layer
from reconciler.spec.documents import item_name

MAX_CHAIN = 16
MAX_LAYERS = 64
OPAQUE = frozenset(
    {"config", "parameters", "labels", "annotations", "matchLabels", "selector", "weights", "limits", "requests"}
)
"""Fields whose content, or whose keys, are the author's own: no alternatives are looked for in there."""

ALTERNATIVES: tuple[frozenset[str], ...] = (
    frozenset({"replicas", "autoscaling"}),
    frozenset({"value", "secret"}),
    frozenset({"http", "tcp", "grpc", "exec"}),
    frozenset({"minAvailable", "maxUnavailable"}),
    frozenset({"connectivity", "performance", "resources", "lifecycle", "dependencies", "a2aCard", "plugin"}),
    frozenset({"webhook", "slack", "pagerduty", "alertmanager", "email", "apprise"}),
)
_ALTERNATIVE = {key: group for group in ALTERNATIVES for key in group}
_EXACT = frozenset({"rollout"})
"""Fields in which the names above are no alternatives (a rollout has maxUnavailable of its own)."""


def merge(base: Any, over: Any, *, field: str = "", opaque: bool = False) -> Any:
    """`over` laid on `base`; neither is changed. Null is removed later, by `without_nulls`, so that it wins here."""
    if isinstance(base, dict) and isinstance(over, dict):
        return _merge_mappings(base, over, exact=opaque or field in _EXACT)
    if isinstance(base, list) and isinstance(over, list) and _named(base) and _named(over):
        return _merge_named(base, over, opaque=opaque)
    return over


def _merge_mappings(base: dict[str, Any], over: dict[str, Any], *, exact: bool) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if not exact and value is not None and key in _ALTERNATIVE and not _is_resources(key, base, over):
            for other in _ALTERNATIVE[key]:
                if other != key and other not in over:
                    result.pop(other, None)
        if key in result:
            result[key] = merge(result[key], value, field=key, opaque=(exact and key not in _EXACT) or key in OPAQUE)
        else:
            result[key] = value
    return result


def _is_resources(key: str, base: dict[str, Any], over: dict[str, Any]) -> bool:
    """`resources` and `plugin` name a check only inside a named check; a spec has `resources` too."""
    return _ALTERNATIVE[key] is ALTERNATIVES[4] and "name" not in base and "name" not in over


def _named(items: list[Any]) -> bool:
    return bool(items) and all(item_name(item) is not None for item in items)


def _merge_named(base: list[Any], over: list[Any], *, opaque: bool) -> list[Any]:
    """Items keep the order of `base`, new ones follow. A name that `over` holds twice stays twice, to be found."""
    result = list(base)
    places = {item_name(item): index for index, item in enumerate(base)}
    for item in over:
        index = places.pop(item_name(item), None)
        if index is None:
            result.append(item)
        else:
            result[index] = merge(result[index], item, opaque=opaque)
    return result


_LEAVES = frozenset({str, int, float, bool})


def without_nulls(value: Any) -> Any:
    """`value` without the keys that are null; the same object where there are none. Nulls in lists stay."""
    if type(value) is dict:
        changed: dict[str, Any] | None = None
        for key, item in value.items():
            if type(item) in _LEAVES:
                continue
            kept = None if item is None else without_nulls(item)
            if kept is not item or item is None:
                changed = dict(value) if changed is None else changed
                changed[key] = kept
        if changed is None:
            return value
        return {key: item for key, item in changed.items() if item is not None}
    if type(value) is list:
        items = [item if type(item) in _LEAVES else without_nulls(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


class ChainError(Exception):
    """A chain of `extends` that cannot be resolved. `chain` runs from the asker to the culprit."""

    def __init__(self, code: str, message: str, chain: tuple[str, ...]) -> None:
        super().__init__(message)
        self.code, self.message, self.chain = code, message, chain


def parents(document: Document) -> tuple[str, ...]:
    """The names in `extends`, as far as they are names; what is not is found by the shape check."""
    spec = document.value.get("spec")
    names = spec.get("extends") if isinstance(spec, dict) else None
    if not isinstance(names, list):
        return ()
    return tuple(name for name in names if isinstance(name, str))[:MAX_CHAIN]


def malformed_extends(document: Document) -> bool:
    """Whether `extends` is there and is no list of at most MAX_CHAIN names."""
    spec = document.value.get("spec")
    names = spec.get("extends") if isinstance(spec, dict) else None
    return names is not None and not (
        isinstance(names, list) and len(names) <= MAX_CHAIN and all(isinstance(name, str) for name in names)
    )


@dataclass(frozen=True, slots=True)
class Chain:
    """A template with all it stands on: `layers` farthest first; `longest`, its longest line, itself first."""

    layers: tuple[Layer, ...]
    longest: tuple[str, ...]


def chain_of(name: str, templates: Mapping[str, Document], *, asked: tuple[str, ...], known: dict[str, Chain]) -> Chain:
    """The chain of template `name`; each document once in it: where it first lays its values down.

    `asked` are the templates that led here; `known` keeps what was walked. Raises ChainError for an unknown name, a
    cycle, or a line of more than MAX_CHAIN templates; the same whatever was walked before.
    """
    here = (*asked, name)
    if name in asked:
        raise ChainError("template-cycle", f"the template {name!r} extends itself", here)
    if len(here) > MAX_CHAIN:
        raise ChainError("template-chain", _LONG, here)
    found = known.get(name)
    if found is None:
        document = templates.get(name)
        if document is None:
            raise ChainError("unknown-template", f"unknown template {name!r}", here)
        if malformed_extends(document) or not isinstance(document.value.get("spec", {}), dict | None):
            raise ChainError("bad-template", f"the template {name!r} is not valid: see {document.path}", here)
        layers, longest = stacked(parents(document), templates, asked=here, known=known)
        found = known[name] = Chain((*layers, Layer(name=name, document=document)), (name, *longest))
    if len(asked) + len(found.longest) > MAX_CHAIN:
        raise ChainError("template-chain", _LONG, (*asked, *found.longest))
    return found


_LONG = f"templates extend each other over more than {MAX_CHAIN} steps"


def stacked(
    names: tuple[str, ...], templates: Mapping[str, Document], *, asked: tuple[str, ...], known: dict[str, Chain]
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """The layers that `extends: names` stands for, left to right, and its longest line. Raises ChainError."""
    layers: dict[str, Layer] = {}
    longest: tuple[str, ...] = ()
    for name in names:
        chain = chain_of(name, templates, asked=asked, known=known)
        for layer in chain.layers:
            layers.setdefault(layer.name, layer)
        longest = max(longest, chain.longest, key=len)
    if len(layers) > MAX_LAYERS:
        raise ChainError(
            "template-chain", f"more than {MAX_LAYERS} templates in one line of descent", (*asked, *longest)
        )
    return tuple(layers.values()), longest


def written_spec(document: Document) -> dict[str, Any]:
    """What a document's spec says itself; empty where there is no mapping."""
    spec = document.value.get("spec")
    return {key: value for key, value in spec.items() if key != "extends"} if isinstance(spec, dict) else {}


def merged(layers: tuple[Layer, ...]) -> dict[str, Any]:
    """The specs of all layers, one laid on the other; nulls are still in it, `extends` is not."""
    result: Any = {}
    for layer in layers:
        result = merge(result, written_spec(layer.document))
    return dict(result)
