"""Differences between two resolved specs, field by field in YAML names, secrets masked where values are built."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from reconciler.model.agent import Agent
from reconciler.model.identity import FieldPath
from reconciler.model.plan import AttributeChange, Drift, Masked, Missing, Risk
from reconciler.model.source import JsonObject, Provenance
from reconciler.model.units import Duration, Quantity
from reconciler.spec.documents import item_name
from reconciler.spec.validate import looks_secret, secrets

_quantity = lru_cache(maxsize=4096)(Quantity.parse)
_duration = lru_cache(maxsize=4096)(Duration.parse)
_canonical = msgspec.json.Encoder(order="sorted").encode
_path = attrgetter("path")
_Leaf = tuple[FieldPath, Any, Any]
OriginOf = Callable[[FieldPath], Provenance | None]
_FREE = (("config",), ("modelConfig", "parameters"))
"""Fields in which people name things as they like. What is called a secret elsewhere is a reference to one."""

_LETTERS = frozenset({"config", "env", "modelConfig", "systemMessage"})
"""Fields that are passed on to the agent as they are."""
_MEASURED = frozenset({
    "average", "failbackAfter", "failoverAfter", "initial", "initialDelay", "interval", "max", "p50", "p95", "p99",
    "period", "repeat", "settle", "stabilization", "terminationGrace", "timeout", "value", "wait",
})  # fmt: skip
"""Names of fields with a quantity or a duration. Those in `resources` are called as clusters call what they have."""
_LONG = 4
"""Letters from which on a secret is found inside of words too."""


def compare(
    before: JsonObject, after: JsonObject, *, sensitive: frozenset[FieldPath], origin: OriginOf
) -> tuple[tuple[AttributeChange, ...], int]:
    """Fields that differ, in path order, and how many leaves do not."""
    changes: list[AttributeChange] = []
    same = 0
    leaves: list[_Leaf] = []
    _leaves(dict(before), dict(after), (), leaves)
    for path, old, new in leaves:
        if old is not Missing.FIELD and new is not Missing.FIELD and _equal(path, old, new):
            same += 1
            continue
        hidden = _is_sensitive(path, sensitive) or (_is_free(path) and (_hides(old) or _hides(new)))
        changes.append(
            AttributeChange(
                path=path,
                before=_masked(old) if hidden else old,
                after=_masked(new) if hidden else new,
                origin=origin(path),
            )
        )
    changes.sort(key=_path)
    return tuple(changes), same


Inherited = dict[tuple[str, int, Provenance | None], tuple[Any, tuple[AttributeChange, ...]]]
"""The attributes of top-level values, by the value itself: agents on one template have the same objects."""


def created(
    document: JsonObject,
    *,
    sensitive: frozenset[FieldPath],
    origins: Mapping[str, Provenance],
    inherited: Inherited,
) -> tuple[AttributeChange, ...]:
    """All fields of a new agent, as `compare` with nothing has them; what is `inherited` is worked out once.

    `origins` says of top-level fields where they come from. Other fields have no origin here: places of all fields of
    thousands of new agents would cost ten times as much.
    """
    found: list[AttributeChange] = []
    own = {path[0] for path in sensitive}
    for key in sorted(document):
        value, origin = document[key], origins.get(key)
        if key in own:
            found += _all_of(key, value, sensitive, origin)
            continue
        known = inherited.get((key, id(value), origin))
        if known is None:
            # Holds the value too: its id would be another's some day.
            known = inherited[key, id(value), origin] = value, _all_of(key, value, sensitive, origin)
        found += known[1]
    return tuple(found)


def _all_of(
    key: str, value: Any, sensitive: frozenset[FieldPath], origin: Provenance | None
) -> tuple[AttributeChange, ...]:
    return compare({}, {key: value}, sensitive=sensitive, origin=lambda _: origin)[0]


def _masked(value: Any) -> Any:
    return value if value is Missing.FIELD else Masked.SENSITIVE


def _is_sensitive(path: FieldPath, sensitive: frozenset[FieldPath]) -> bool:
    if any(path[: len(known)] == known for known in sensitive):
        return True
    if path[:1] == ("env",) and path[-1] == "value":
        return looks_secret(path[1].strip("[]"))
    return _is_free(path) and any(map(looks_secret, path[1:]))


def _is_free(path: FieldPath) -> bool:
    return any(path[: len(free)] == free for free in _FREE)


def _hides(leaf: Any) -> bool:
    """Whether something inside a leaf (a list of things of several kinds is one) has a secret-looking name."""
    if isinstance(leaf, Mapping):
        return any(looks_secret(str(key)) or _hides(value) for key, value in leaf.items())
    return isinstance(leaf, list | tuple) and any(map(_hides, leaf))


def masked(drift: Drift, agent: Agent, before: JsonObject) -> Drift:
    """A drift whose values are fit to be shown: those of secret-looking names, and the agent's own secrets, are not.

    `before` is the document that was applied last: what it held may run still.
    """
    names = re.findall(r"\[([^\]]*)\]", drift.path) if ".env[" in drift.path else ()
    secret = any(map(looks_secret, names)) or any(map(looks_secret, drift.path.split(".")[-1:]))
    literals = {text for document in (agent.document, before) for _, texts in secrets(document) for text in texts}
    wanted, live = (
        side
        if side is Missing.FIELD or isinstance(side, bool) or not (secret or _holds(side, literals))
        else Masked.SENSITIVE
        for side in (drift.before, drift.after)
    )
    return dataclasses.replace(drift, before=wanted, after=live)


def _holds(value: Any, literals: Iterable[str]) -> bool:
    """Whether a secret stands in a value. A short one is looked for as a whole word: letters of it are everywhere.

    Numbers are none: those of objects are counts and ports, secrets are in their texts.
    """
    if isinstance(value, int | float):
        return False
    shown = str(value)
    return any(
        literal in shown and (len(literal) >= _LONG or re.search(rf"(?<!\w){re.escape(literal)}(?!\w)", shown))
        for literal in literals
    )


def _leaves(before: Any, after: Any, path: FieldPath, found: list[_Leaf]) -> None:
    """Pairs of leaves of two trees, added to `found`. A list of scalars is one leaf; named lists go by name."""
    if isinstance(before, dict) or isinstance(after, dict):
        old = before if isinstance(before, dict) else {}
        new = after if isinstance(after, dict) else {}
        if not old and not new:
            found.append((path, before, after))
        _pairs(old, new, path, found)
    elif _mappings(before) or _mappings(after):
        old, new = _by_name(before), _by_name(after)
        _pairs(
            {f"[{name}]": item for name, item in old.items()},
            {f"[{name}]": item for name, item in new.items()},
            path,
            found,
        )
    else:
        found.append((path, before, after))


def _pairs(old: dict[str, Any], new: dict[str, Any], path: FieldPath, found: list[_Leaf]) -> None:
    missing = Missing.FIELD
    for key, before in old.items():
        _either(before, new.get(key, missing), (*path, key), found)
    for key, after in new.items():
        if key not in old:
            _either(missing, after, (*path, key), found)


def _either(before: Any, after: Any, path: FieldPath, found: list[_Leaf]) -> None:
    if type(before) in _PLAIN and type(after) in _PLAIN:
        found.append((path, before, after))
    else:
        _leaves(before, after, path, found)


_PLAIN = frozenset({str, int, bool, float, type(None), Missing})


def _mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict) for item in value)


def _by_name(value: Any) -> dict[str, Any]:
    """The entries of a list by their names; by number where there is no name, or another entry has it already."""
    found: dict[str, Any] = {}
    for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
        label = item_name(item) or str(index)
        if label in found:
            label = str(index)
        while label in found:
            label += "+"
        found[label] = item
    return found


def _equal(path: FieldPath, before: Any, after: Any) -> bool:
    if before == after:
        return type(before) is type(after) if type(before) in _PLAIN else _canonical(before) == _canonical(after)
    if isinstance(before, str) and isinstance(after, str) and _is_measured(path):
        for parse in (_quantity, _duration):
            try:
                return bool(parse(before) == parse(after))
            except ValueError:
                continue
    return False


def _is_measured(path: FieldPath) -> bool:
    """Whether a field has a quantity or a duration. In all others "1.10" is not "1.1", as people chose the letters."""
    if path[0] in _LETTERS or path[-2:-1] in (("labels",), ("matchLabels",), ("selector",), ("annotations",)):
        return False
    return path[0] == "resources" or path[-1] in _MEASURED


def risks(before: JsonObject, after: JsonObject) -> tuple[Risk, ...]:
    """Which classes of risk a change of an agent's spec has, in the order of Risk."""
    found: set[Risk] = set()
    if before.get("systemMessage", "") != after.get("systemMessage", ""):
        found.add(Risk.PROMPT)
    found |= _model_risks(before.get("modelConfig") or {}, after.get("modelConfig") or {})
    found |= _tool_risks(before, after)
    found |= _resource_risks(before.get("resources") or {}, after.get("resources") or {})
    if before.get("image") != after.get("image"):
        found.add(Risk.IMAGE)
    if (before.get("command"), before.get("args")) != (after.get("command"), after.get("args")):
        found.add(Risk.COMMAND)
    if _secrets(before) != _secrets(after):
        found.add(Risk.SECRET_CHANGED)
    return tuple(risk for risk in Risk if risk in found)


def _model_risks(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[Risk]:
    fields = ("provider", "model", "baseUrl", "parameters")
    changed = any(before.get(name) != after.get(name) for name in fields)
    return {Risk.MODEL} if changed else set()


def _tools(document: JsonObject) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(server, tool) pairs that may be used ("*" for all of a server), and those that need approval."""
    usable, approval = set(), set()
    for tool in document.get("tools") or ():
        server = item_name(tool) or ""
        names = (tool.get("mcpServer") or {}).get("toolNames") or ["*"]
        usable |= {(server, name) for name in names}
        approval |= {(server, name) for name in tool.get("requireApproval") or ()}
    return usable, approval


def _tool_risks(before: JsonObject, after: JsonObject) -> set[Risk]:
    old, old_approval = _tools(before)
    new, new_approval = _tools(after)
    found = set()
    if new - old:
        found.add(Risk.TOOL_GAINED)
    if old - new:
        found.add(Risk.TOOL_LOST)
    if any(pair in new or (pair[0], "*") in new for pair in old_approval - new_approval):
        found.add(Risk.APPROVAL_REMOVED)
    return found


def _resource_risks(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[Risk]:
    found = set()
    for part in ("requests", "limits"):
        old, new = before.get(part) or {}, after.get(part) or {}
        for name in old.keys() | new.keys():
            if name not in old or name not in new:
                raised = (name in new) == (part == "requests")
                found.add(Risk.RESOURCES_RAISED if raised else Risk.RESOURCES_LOWERED)
            elif _quantity(new[name]) > _quantity(old[name]):
                found.add(Risk.RESOURCES_RAISED)
            elif _quantity(new[name]) < _quantity(old[name]):
                found.add(Risk.RESOURCES_LOWERED)
    return found


def _secrets(document: JsonObject) -> list[Any]:
    found = [(item["name"], item["secret"]) for item in document.get("env") or () if item.get("secret")]
    model = (document.get("modelConfig") or {}).get("secret")
    return [*found, ("modelConfig", model)]
