"""Sets of field paths in the form of managedFields' FieldsV1, and how they are made from objects.

A set is the JSON that is stored: `{"f:spec": {"f:replicas": {}}}`. A path is a member where its dict is empty or has a
"." key; `f:` names a field, `k:` an item by its keys, `v:` an item of a set. The empty dict at the root is the empty
set. Sets are never changed in place. What is a member follows structured-merge-diff v6, the library of API servers
(`TypedValue.ToFieldSet` and `Compare`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from reconciler.adapters.embedded.schema_tables import Node, Shape

Fields = dict[str, Any]
_SELF = "."
_MEMBER: Fields = {}
_TEXTS = frozenset({"str", "quantity", "intstr", "time", "bytes", "any"})
"""Scalars that any text is, as far as types go."""

_encode = msgspec.json.Encoder(order="sorted").encode


class Undeclared(Exception):
    """A value does not fit its type: `path` as API servers print it, and what is wrong."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def is_member(fields: Fields) -> bool:
    """Whether the path that leads to this (non-root) dict is in the set itself."""
    return not fields or _SELF in fields


def union(left: Fields, right: Fields) -> Fields:
    """All paths of both."""
    if not left or not right:
        return left or right
    result = dict(left)
    for key, theirs in right.items():
        ours = result.get(key)
        result[key] = theirs if ours is None else _joined(ours, theirs)
    return result


def _joined(ours: Fields, theirs: Fields) -> Fields:
    """Both below one path, which is a member when it is one in either."""
    if ours is theirs or not (ours or theirs):
        return ours
    inside = union(ours, theirs)
    if _SELF not in inside and (not ours or not theirs):
        inside = {_SELF: _MEMBER, **inside}
    return inside


def difference(left: Fields, right: Fields) -> Fields:
    """Paths of `left` that are not, exactly, in `right`."""
    return _filtered(left, right, keep=False)


def intersection(left: Fields, right: Fields) -> Fields:
    """Paths that are in both."""
    return _filtered(left, right, keep=True)


def _filtered(left: Fields, right: Fields, *, keep: bool) -> Fields:
    result: Fields = {}
    for key, ours in left.items():
        if key == _SELF:
            continue
        theirs = right.get(key)
        if theirs is None:
            if not keep:
                result[key] = ours
            continue
        inside = _filtered(ours, theirs, keep=keep)
        if is_member(ours) and is_member(theirs) == keep:
            result[key] = {_SELF: _MEMBER, **inside} if inside else _MEMBER
        elif inside:
            result[key] = inside
    return result


def without_below(fields: Fields, strip: Fields) -> Fields:
    """`fields` without the members of `strip` and all that lies below them."""
    result: Fields = {}
    for key, ours in fields.items():
        theirs = strip.get(key) if key != _SELF else None
        if theirs is None:
            result[key] = ours
        elif theirs:
            inside = without_below(ours, theirs)
            if inside or not ours:
                result[key] = inside
    return result


def paths(fields: Fields) -> list[str]:
    """All members as API servers print them, sorted: `.spec.replicas`, `.spec.ports[port=80,protocol="TCP"].name`."""
    found: list[str] = []
    _walk(fields, "", found)
    return sorted(found)


def _walk(fields: Fields, prefix: str, found: list[str]) -> None:
    for key, inside in fields.items():
        if key == _SELF:
            continue
        path = prefix + _printed(key)
        if is_member(inside):
            found.append(path)
        _walk(inside, path, found)


def _printed(element: str) -> str:
    mark, text = element[:2], element[2:]
    if mark == "f:":
        return f".{text}"
    if mark == "k:":
        keys = msgspec.json.decode(text.encode())
        return "[" + ",".join(f"{name}={_encode(value).decode()}" for name, value in sorted(keys.items())) + "]"
    return f"[={text}]" if mark == "v:" else f"[{text}]"


def item_element(item: Any, node: Node, path: str) -> str:
    """How a list item is called in a set. Raises Undeclared when a key is missing that has no default."""
    if node.shape is Shape.SET:
        return f"v:{_encode(item).decode()}"
    if not isinstance(item, dict):
        raise Undeclared(path, f"expected map, got {_shown(item)}")
    keys = {}
    for name, default in node.keys:
        value = item.get(name)
        if value is None:
            value = default
        if value is not None:
            keys[name] = value
    if not keys:
        names = ", ".join(name for name, _ in node.keys)
        raise Undeclared(path, f"associative list with keys has an element that omits key field {names}")
    return f"k:{_encode(keys).decode()}"


def elements(items: list[Any], node: Node, path: str) -> dict[str, Any]:
    """The items by their element. Raises Undeclared for duplicates."""
    found: dict[str, Any] = {}
    for item in items:
        element = item_element(item, node, path)
        if element in found:
            raise Undeclared(path, f"duplicate entries for key {_printed(element)}")
        found[element] = item
    return found


def fields_of(value: Any, node: Node, *, containers: bool = False, path: str = "") -> Fields:
    """The set of what `value` says; the root of a scalar or an atomic value is the empty dict.

    `containers` makes every map and list on the way a member too, as for a value that was added as a whole. Checks the
    value against its type on the way. Raises Undeclared.
    """
    shape = node.shape
    if shape is Shape.SCALAR:
        check_scalar(value, node.scalar, path)
        return _MEMBER
    if shape is Shape.ATOMIC:
        inner = node.inner
        if inner is not None and value is not None:
            _check_inside(value, inner, path)
        return _MEMBER
    if value is None:
        return _MEMBER
    result: Fields = {_SELF: _MEMBER} if containers and path and value else {}
    if shape is Shape.STRUCT or shape is Shape.MAP:
        _fields_of_map(value, node, path, result, containers=containers)
    else:
        _fields_of_list(value, node, path, result, containers=containers)
    return result


def _fields_of_map(value: Any, node: Node, path: str, result: Fields, *, containers: bool) -> None:
    if not isinstance(value, dict):
        raise Undeclared(path, f"expected map, got {_shown(value)}")
    declared = node.fields
    for key, child in value.items():
        if not isinstance(key, str):
            raise Undeclared(path, f"keys are strings, not {_shown(key)}")
        inner = node.item if node.shape is Shape.MAP else declared.get(key)
        if inner is None:
            raise Undeclared(f"{path}.{key}", "field not declared in schema")
        if inner.shape is Shape.SCALAR:
            if child.__class__ is not str or inner.scalar not in _TEXTS:
                check_scalar(child, inner.scalar, f"{path}.{key}")
            result[f"f:{key}"] = _MEMBER
            continue
        below = f"{path}.{key}"
        inside = fields_of(child, inner, containers=containers, path=below)
        if inside or not _says_nothing(child, inner, containers=containers):
            result[f"f:{key}"] = inside


def _says_nothing(value: Any, node: Node, *, containers: bool) -> bool:
    """An associative list without items, or a map with nothing but such lists, is no path of its own."""
    if value is None or containers:
        return False
    if node.shape is Shape.LIST or node.shape is Shape.SET:
        return True
    return bool(value) and (node.shape is Shape.STRUCT or node.shape is Shape.MAP)


def _fields_of_list(value: Any, node: Node, path: str, result: Fields, *, containers: bool) -> None:
    if not isinstance(value, list):
        raise Undeclared(path, f"expected list, got {_shown(value)}")
    item_node = node.item
    assert item_node is not None  # noqa: S101 - every list type has one
    for element, item in elements(value, node, path).items():
        inside = fields_of(item, item_node, containers=containers, path=path + _printed(element))
        result[element] = {_SELF: _MEMBER, **inside} if inside else _MEMBER


def _check_inside(value: Any, node: Node, path: str) -> None:
    """Check an atomic value all the way down."""
    if node.shape is Shape.LIST and node.item is not None:
        if not isinstance(value, list):
            raise Undeclared(path, f"expected list, got {_shown(value)}")
        for index, item in enumerate(value):
            _check_inside(item, node.item, f"{path}[{index}]")
    else:
        fields_of(value, node, path=path or ".")


def check_scalar(value: Any, scalar: str, path: str) -> None:
    """Raises Undeclared when `value` is no such scalar; null is one of every kind."""
    if value is None or scalar == "any":
        return
    kind = type(value)
    if scalar == "int":
        fits, wanted = kind is int or (kind is float and value.is_integer()), "numeric (int or float)"
    elif scalar == "bool":
        fits, wanted = kind is bool, "boolean"
    elif scalar == "intstr":
        fits, wanted = kind is int or kind is str, "int or string"
    elif scalar == "quantity":
        fits, wanted = kind is int or kind is float or kind is str, "quantity"
    else:
        fits, wanted = kind is str, "string"
    if not fits:
        raise Undeclared(path, f"expected {wanted}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A wrong value, briefly; never all of a long one."""
    names = {dict: "map", list: "list", type(None): "null", bool: "boolean", int: "number", float: "number"}
    name = names.get(type(value))
    return name or ("string" if isinstance(value, str) else type(value).__name__)


class Comparison(NamedTuple):
    """What a write did: paths that are gone, and paths that are new or other."""

    removed: Fields
    changed: Fields


_PRESENT = frozenset({"metadata", "spec", "status", "strategy", "template"})
"""Types that API servers hold by value: always there, so never added or removed themselves."""


def compare(old: dict[str, Any], new: dict[str, Any], node: Node) -> Comparison:
    """How two objects of one type differ. Both must have passed `fields_of`."""
    removed: Fields = {}
    changed: Fields = {}
    _compare_map(old, new, node, removed, changed)
    return Comparison(removed, changed)


def _compare_map(old: dict[str, Any], new: dict[str, Any], node: Node, removed: Fields, changed: Fields) -> None:
    declared = node.fields
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if before == after and (key in old) == (key in new):
            continue
        inner = node.item if node.shape is Shape.MAP else declared.get(key)
        if inner is None:
            continue
        if key in _PRESENT and inner.shape is Shape.STRUCT:
            before, after = before or {}, after or {}
            _compare_one(before, after, inner, f"f:{key}", removed, changed)
        elif key not in old:
            changed[f"f:{key}"] = fields_of(after, inner, containers=True, path=key)
        elif key not in new:
            removed[f"f:{key}"] = fields_of(before, inner, containers=True, path=key)
        else:
            _compare_one(before, after, inner, f"f:{key}", removed, changed)


def _compare_one(before: Any, after: Any, node: Node, element: str, removed: Fields, changed: Fields) -> None:
    """Two values that are both there."""
    shape = node.shape
    if before == after:
        return
    if shape is Shape.SCALAR or shape is Shape.ATOMIC or before is None or after is None:
        changed[element] = _MEMBER
        return
    less: Fields = {}
    more: Fields = {}
    if shape is Shape.STRUCT or shape is Shape.MAP:
        _compare_map(before, after, node, less, more)
    else:
        _compare_list(before, after, node, less, more)
    if less:
        removed[element] = less
    if more:
        changed[element] = more


def _compare_list(before: list[Any], after: list[Any], node: Node, removed: Fields, changed: Fields) -> None:
    item = node.item
    assert item is not None  # noqa: S101 - every list type has one
    old, new = elements(before, node, ""), elements(after, node, "")
    for element in {**old, **new}:
        if element not in old:
            inside = fields_of(new[element], item, containers=True, path=element)
            changed[element] = {_SELF: _MEMBER, **inside} if inside else _MEMBER
        elif element not in new:
            inside = fields_of(old[element], item, containers=True, path=element)
            removed[element] = {_SELF: _MEMBER, **inside} if inside else _MEMBER
        else:
            _compare_one(old[element], new[element], item, element, removed, changed)
