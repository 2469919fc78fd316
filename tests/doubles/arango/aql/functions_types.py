"""Functions of AQL on types and objects."""

from __future__ import annotations

import re

from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.aql.table import FUNCTIONS, MANY, spoken
from tests.doubles.arango.values import (
    Value,
    equal,
    kind_of,
    to_number,
    to_string,
    truth,
)

for _kind in ("null", "bool", "number", "string", "array", "object"):
    FUNCTIONS[f"IS_{_kind.upper()}"] = (1, 1, lambda _context, value, kind=_kind: kind_of(value) == kind)
FUNCTIONS["IS_LIST"] = FUNCTIONS["IS_ARRAY"]
FUNCTIONS["IS_DOCUMENT"] = FUNCTIONS["IS_OBJECT"]


@spoken(1, 1)
def typename(_context: Context, value: Value) -> Value:
    return kind_of(value)


@spoken(1, 1)
def is_key(_context: Context, value: Value) -> Value:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_\-.@()+,=;$!*'%:]{1,254}", value) is not None


@spoken(1, 1)
def aql_to_number(_context: Context, value: Value) -> Value:
    return to_number(value)


@spoken(1, 1)
def aql_to_string(_context: Context, value: Value) -> Value:
    return to_string(value)


@spoken(1, 1)
def to_bool(_context: Context, value: Value) -> Value:
    return truth(value)


@spoken(1, 1, "TO_ARRAY", "TO_LIST")
def to_array(_context: Context, value: Value) -> Value:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else [value]


@spoken(1, MANY)
def not_null(_context: Context, *values: Value) -> Value:
    return next((one for one in values if one is not None), None)


@spoken(1, MANY)
def first_list(_context: Context, *values: Value) -> Value:
    return next((one for one in values if isinstance(one, list)), None)


@spoken(1, MANY)
def first_document(_context: Context, *values: Value) -> Value:
    return next((one for one in values if isinstance(one, dict)), None)


@spoken(1, 1, "NOOPT", "NOEVAL", "PASSTHRU")
def same(_context: Context, value: Value) -> Value:
    return value


@spoken(1, 3, "ATTRIBUTES", "KEYS")
def attributes(_context: Context, value: Value, without_system: Value = False, in_order: Value = False) -> Value:  # noqa: FBT002
    if not isinstance(value, dict):
        return None
    # Without `in_order` the order is undefined; the server happens to store attributes by name.
    return sorted(one for one in value if not (truth(without_system) and one.startswith("_")))


@spoken(1, 2)
def values(_context: Context, value: Value, without_system: Value = False) -> Value:  # noqa: FBT002
    if not isinstance(value, dict):
        return None
    return [one for name, one in value.items() if not (truth(without_system) and name.startswith("_"))]


@spoken(2, 2)
def has(_context: Context, value: Value, name: Value) -> Value:
    return isinstance(value, dict) and to_string(name) in value


def _names(parts: tuple[Value, ...]) -> set[str]:
    given = parts[0] if len(parts) == 1 and isinstance(parts[0], list) else parts
    return {to_string(one) for one in given}


@spoken(2, MANY)
def unset(_context: Context, value: Value, *names: Value) -> Value:
    gone = _names(names)
    return {name: one for name, one in value.items() if name not in gone} if isinstance(value, dict) else None


@spoken(2, MANY)
def unset_recursive(_context: Context, value: Value, *names: Value) -> Value:
    gone = _names(names)

    def without(one: Value) -> Value:
        if isinstance(one, list):
            return [without(each) for each in one]
        if isinstance(one, dict):
            return {name: without(each) for name, each in one.items() if name not in gone}
        return one

    return without(value) if isinstance(value, dict) else None


@spoken(2, MANY)
def keep(_context: Context, value: Value, *names: Value) -> Value:
    kept = _names(names)
    return {name: one for name, one in value.items() if name in kept} if isinstance(value, dict) else None


@spoken(1, MANY)
def aql_merge(_context: Context, *objects: Value) -> Value:
    parts = objects[0] if len(objects) == 1 and isinstance(objects[0], list) else objects
    made: dict[str, Value] = {}
    for one in parts:
        if isinstance(one, dict):
            made |= one
    return made


@spoken(1, MANY)
def merge_recursive(_context: Context, *objects: Value) -> Value:
    def merged(into: Value, one: Value) -> Value:
        if not isinstance(into, dict) or not isinstance(one, dict):
            return one
        return into | {name: merged(into.get(name), value) for name, value in one.items()}

    parts = objects[0] if len(objects) == 1 and isinstance(objects[0], list) else objects
    made: Value = {}
    for one in parts:
        made = merged(made, one)
    return made


@spoken(2, 2)
def aql_zip(_context: Context, names: Value, members: Value) -> Value:
    if not isinstance(names, list) or not isinstance(members, list) or len(names) != len(members):
        return None
    return {to_string(name): one for name, one in zip(names, members, strict=True)}


@spoken(2, 2)
def value(_context: Context, document: Value, path: Value) -> Value:
    for step in path if isinstance(path, list) else []:
        if isinstance(document, dict):
            document = document.get(to_string(step))
        elif isinstance(document, list) and isinstance(step, int) and -len(document) <= step < len(document):
            document = document[step]
        else:
            return None
    return document


@spoken(2, 3)
def translate(_context: Context, sought: Value, table: Value, *default: Value) -> Value:
    name = to_string(sought)
    if isinstance(table, dict) and name in table:
        return table[name]
    return default[0] if default else sought


@spoken(2, 3)
def matches(_context: Context, document: Value, examples: Value, index: Value = False) -> Value:  # noqa: FBT002
    given = examples if isinstance(examples, list) else [examples]
    for place, example in enumerate(given):
        if all(equal(document.get(name), one) for name, one in example.items()):
            return place if truth(index) else True
    return -1 if truth(index) else False


@spoken(1, 1)
def parse_identifier(context: Context, handle: Value) -> Value:
    text = handle.get("_id") if isinstance(handle, dict) else handle
    collection, slash, name = text.partition("/") if isinstance(text, str) else ("", "", "")
    if not slash:
        context.warn(1542, "invalid argument type in call to function 'PARSE_IDENTIFIER()'")
        return None
    return {"collection": collection, "key": name}


@spoken(2, 2)
def is_same_collection(_context: Context, collection: Value, handle: Value) -> Value:
    text = handle.get("_id") if isinstance(handle, dict) else handle
    if not isinstance(text, str):
        return None
    return to_string(collection) == text.partition("/")[0]
