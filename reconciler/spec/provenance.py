"""Where a resolved field was written: the layer, file, line and revision it came from."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.identity import FieldPath
from reconciler.model.source import Layer, Position, Provenance
from reconciler.spec.documents import item_name, locate


def depth(value: Any, path: FieldPath) -> int:
    """How many parts of `path` lead somewhere in `value`."""
    return _found(value, path)[0]


def _found(value: Any, path: FieldPath) -> tuple[int, Any]:
    """How many parts of `path` lead somewhere in `value`, and what stands where they end."""
    for index, part in enumerate(path):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.startswith("["):
            label = part[1:-1]
            for number, item in enumerate(value):
                if label in (item_name(item), str(number)):
                    value = item
                    break
            else:
                return index, value
        else:
            return index, value
    return len(path), value


def _merges(value: Any) -> bool:
    """Whether what stands below `value` in another layer may go on beside it (see templates.merge)."""
    named = isinstance(value, list) and bool(value) and all(item_name(item) is not None for item in value)
    return named or isinstance(value, dict)


def layer_of(layers: tuple[Layer, ...], path: FieldPath) -> tuple[Layer, int]:
    """The last layer that decides `path` (a path in the spec), and how much of it stands there.

    It is the one that knows most of the path, unless a later one writes null, or a value that does not merge, over a
    part of it: that takes all below away, whatever the layers before said.
    """
    best, known = layers[-1], 0
    for layer in layers:
        here, value = _found(layer.document.value.get("spec"), path)
        if here >= known or (here and not _merges(value)):
            best, known = layer, here
    return best, known


def place(layers: tuple[Layer, ...], path: FieldPath, *, key: bool = False) -> Position:
    """The position of a spec's field, or of its nearest ancestor that was written."""
    layer, known = layer_of(layers, path)
    return locate(layer.document, ("spec", *path[:known]), key=key and known == len(path))


def origin(agent: Agent, path: FieldPath) -> Provenance | None:
    """Where the value at `path` of an agent's document was written.

    `layer` is "agent" for the agent's own file, "template NAME", or "default" (no position) where nobody wrote it.
    None for an empty path.
    """
    if not path:
        return None
    layer, known = layer_of(agent.layers, path)
    if known == 0:
        return Provenance(layer="default", revision="", position=None)
    return Provenance(
        layer=f"template {layer.name}" if layer.name else "agent",
        revision=layer.document.revision,
        position=locate(layer.document, ("spec", *path[:known]), key=True),
    )
