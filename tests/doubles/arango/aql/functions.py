"""The functions of AQL, each as documented: name, least and most arguments, and what it does to values.

What is not in the table is not spoken. Functions get the query's context first, for warnings and for the time.
"""

from __future__ import annotations

import base64
import json
import math
import re
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.values import (
    Value,
    contains,
    dumps,
    equal,
    key,
    kind_of,
    loads,
    number,
    to_number,
    to_string,
    truth,
)

MANY = 1000
Function = Callable[..., Value]
FUNCTIONS: dict[str, tuple[int, int, Function]] = {}


def spoken(least: int, most: int, *names: str) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        for name in names or (function.__name__.upper().removeprefix("AQL_"),):
            FUNCTIONS[name] = (least, most, function)
        return function

    return add


def _expects_array(context: Context, name: str, value: Value) -> bool:
    if isinstance(value, list):
        return True
    context.warn(1542, f"invalid argument type in call to function '{name}()'")
    return False


# -- types -----------------------------------------------------------------------------------------------------------

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


# -- strings ---------------------------------------------------------------------------------------------------------


@spoken(1, 1)
def char_length(_context: Context, value: Value) -> Value:
    return len(to_string(value))


@spoken(1, 1)
def lower(_context: Context, value: Value) -> Value:
    return to_string(value).lower()


@spoken(1, 1)
def upper(_context: Context, value: Value) -> Value:
    return to_string(value).upper()


@spoken(1, 1)
def to_hex(_context: Context, value: Value) -> Value:
    return to_string(value).encode().hex()


@spoken(1, 1)
def to_base64(_context: Context, value: Value) -> Value:
    return base64.b64encode(to_string(value).encode()).decode()


@spoken(1, 1)
def encode_uri_component(_context: Context, value: Value) -> Value:
    return urllib.parse.quote(to_string(value), safe="-_.!~*'()")


@spoken(1, MANY)
def concat(_context: Context, *values: Value) -> Value:
    parts = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    return "".join(to_string(one) for one in parts)


@spoken(2, MANY)
def concat_separator(_context: Context, separator: Value, *values: Value) -> Value:
    parts = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    return to_string(separator).join(to_string(one) for one in parts if one is not None)


@spoken(2, 3)
def substring(_context: Context, value: Value, offset: Value, length: Value = None) -> Value:
    text, start = to_string(value), int(to_number(offset))
    if start < 0:
        start = max(len(text) + start, 0)
    return text[start:] if length is None else text[start : start + max(int(to_number(length)), 0)]


@spoken(2, 2)
def left(_context: Context, value: Value, count: Value) -> Value:
    return to_string(value)[: max(int(to_number(count)), 0)]


@spoken(2, 2)
def right(_context: Context, value: Value, count: Value) -> Value:
    wanted = max(int(to_number(count)), 0)
    return to_string(value)[-wanted:] if wanted else ""


@spoken(2, 3)
def aql_contains(_context: Context, value: Value, sought: Value, index: Value = False) -> Value:  # noqa: FBT002
    place = to_string(value).find(to_string(sought))
    return place if truth(index) else place >= 0


@spoken(2, 4)
def find_first(_context: Context, value: Value, sought: Value, start: Value = 0, end: Value = None) -> Value:
    text = to_string(value)
    return text.find(to_string(sought), int(to_number(start)), len(text) if end is None else int(to_number(end)) + 1)


@spoken(2, 4)
def find_last(_context: Context, value: Value, sought: Value, start: Value = 0, end: Value = None) -> Value:
    text = to_string(value)
    return text.rfind(to_string(sought), int(to_number(start)), len(text) if end is None else int(to_number(end)) + 1)


@spoken(2, 3)
def starts_with(_context: Context, value: Value, prefix: Value, least: Value = 1) -> Value:
    text = to_string(value)
    if isinstance(prefix, list):
        return sum(text.startswith(to_string(one)) for one in prefix) >= to_number(least)
    return text.startswith(to_string(prefix))


def _stripped(context: Context, value: Value, what: Value, *, front: bool, back: bool) -> Value:
    text, chars = to_string(value), " \t\r\n\v\f" if what is None else to_string(what)
    text = text.lstrip(chars) if front else text
    return text.rstrip(chars) if back else text


@spoken(1, 2)
def trim(context: Context, value: Value, what: Value = None) -> Value:
    if isinstance(what, int) and not isinstance(what, bool):
        return _stripped(context, value, None, front=what in (0, 1), back=what in (0, 2))
    return _stripped(context, value, what, front=True, back=True)


@spoken(1, 2)
def ltrim(context: Context, value: Value, what: Value = None) -> Value:
    return _stripped(context, value, what, front=True, back=False)


@spoken(1, 2)
def rtrim(context: Context, value: Value, what: Value = None) -> Value:
    return _stripped(context, value, what, front=False, back=True)


@spoken(1, 3)
def split(_context: Context, value: Value, separator: Value = None, limit: Value = None) -> Value:
    text = to_string(value)
    if separator is None:
        parts = [text]
    else:
        marks = [to_string(one) for one in (separator if isinstance(separator, list) else [separator])]
        parts = list(text) if marks == [""] else re.split("|".join(re.escape(one) for one in marks), text)
    return parts if limit is None else parts[: int(to_number(limit))]


@spoken(2, 4)
def substitute(_context: Context, value: Value, search: Value, other: Value = None, limit: Value = None) -> Value:
    if isinstance(search, dict):
        table, limit = {name: to_string(one) for name, one in search.items()}, other
    elif isinstance(search, list):
        given = other if isinstance(other, list) else None
        each = [to_string(other)] * len(search) if given is None else [to_string(one) for one in given]
        each += [""] * (len(search) - len(each))
        table = {to_string(one): new for one, new in zip(search, each, strict=False)}
    else:
        table = {to_string(search): to_string(other)}
    if not table or list(table) == [""]:
        return to_string(value)
    pattern = "|".join(re.escape(one) for one in table)
    count = 0 if limit is None else int(to_number(limit))
    return re.sub(pattern, lambda found: table[found[0]], to_string(value), count=count)


@spoken(1, 1)
def reverse(_context: Context, value: Value) -> Value:
    return value[::-1] if isinstance(value, list) else to_string(value)[::-1]


@spoken(2, 3)
def repeat(_context: Context, value: Value, count: Value, separator: Value = "") -> Value:
    return to_string(separator).join([to_string(value)] * max(int(to_number(count)), 0))


@spoken(2, 3)
def aql_like(_context: Context, text: Value, pattern: Value, ignore_case: Value = False) -> Value:  # noqa: FBT002
    from tests.doubles.arango.aql.expressions import like_pattern

    wanted = like_pattern(to_string(pattern), ignore_case=truth(ignore_case))
    return wanted.fullmatch(to_string(text)) is not None


def _regex(context: Context, pattern: Value, ignore_case: Value) -> re.Pattern[str] | None:
    try:
        return re.compile(to_string(pattern), re.IGNORECASE if truth(ignore_case) else 0)
    except re.error:
        context.warn(1543, "invalid regex value")
        return None


@spoken(2, 3)
def regex_test(context: Context, text: Value, pattern: Value, ignore_case: Value = False) -> Value:  # noqa: FBT002
    wanted = _regex(context, pattern, ignore_case)
    return None if wanted is None else wanted.search(to_string(text)) is not None


@spoken(2, 3)
def regex_matches(context: Context, text: Value, pattern: Value, ignore_case: Value = False) -> Value:  # noqa: FBT002
    wanted = _regex(context, pattern, ignore_case)
    found = wanted.fullmatch(to_string(text)) if wanted else None
    return None if found is None else [found[0], *found.groups(default="")]


@spoken(3, 4)
def regex_replace(context: Context, text: Value, pattern: Value, new: Value, ignore_case: Value = False) -> Value:  # noqa: FBT002
    wanted = _regex(context, pattern, ignore_case)
    return None if wanted is None else wanted.sub(to_string(new).replace("\\", "\\\\"), to_string(text))


@spoken(1, 1)
def json_stringify(_context: Context, value: Value) -> Value:
    return dumps(value)


@spoken(1, 1)
def json_parse(_context: Context, value: Value) -> Value:
    try:
        return loads(value) if isinstance(value, str) else None
    except (ValueError, json.JSONDecodeError):
        return None


# -- numbers ---------------------------------------------------------------------------------------------------------


def _numbers(values: Value) -> list[int | float]:
    return [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]


@spoken(1, 1)
def aql_min(context: Context, values: Value) -> Value:
    if not _expects_array(context, "MIN", values):
        return None
    found = [one for one in values if one is not None]
    return min(found, key=key) if found else None


@spoken(1, 1)
def aql_max(context: Context, values: Value) -> Value:
    if not _expects_array(context, "MAX", values):
        return None
    return max(values, key=key) if values else None


@spoken(1, 1)
def aql_sum(context: Context, values: Value) -> Value:
    if not _expects_array(context, "SUM", values):
        return None
    found = [one for one in values if one is not None]
    if len(_numbers(found)) != len(found):
        return None
    return number(sum(found))


@spoken(1, 1, "AVERAGE", "AVG")
def average(context: Context, values: Value) -> Value:
    total, found = aql_sum(context, values), [one for one in values or [] if one is not None]
    return None if total is None or not found else number(total / len(found))


@spoken(1, 1)
def product(_context: Context, values: Value) -> Value:
    return number(math.prod(_numbers(values))) if isinstance(values, list) else None


for _name, _round in {"FLOOR": math.floor, "CEIL": math.ceil, "ABS": abs}.items():
    FUNCTIONS[_name] = (1, 1, lambda _context, value, how=_round: number(how(to_number(value))))


@spoken(1, 1)
def aql_round(_context: Context, value: Value) -> Value:
    return number(math.floor(to_number(value) + 0.5))


@spoken(1, 1)
def sqrt(_context: Context, value: Value) -> Value:
    amount = to_number(value)
    return None if amount < 0 else number(math.sqrt(amount))


@spoken(2, 2)
def aql_pow(_context: Context, base: Value, exponent: Value) -> Value:
    return number(to_number(base) ** to_number(exponent))


@spoken(2, 3)
def aql_range(_context: Context, first: Value, last: Value, step: Value = None) -> Value:
    low, high = to_number(first), to_number(last)
    width = to_number(step) if step is not None else (1 if low <= high else -1)
    if width == 0 or (width > 0) != (low <= high):
        return [low] if low == high else None
    return [number(low + place * width) for place in range(int((high - low) / width) + 1)]


# -- time ------------------------------------------------------------------------------------------------------------


@spoken(0, 0)
def date_now(context: Context) -> Value:
    return context.now_ms


@spoken(1, 1)
def date_timestamp(context: Context, value: Value) -> Value:
    moment = _moment(context, value)
    return None if moment is None else round(moment.timestamp() * 1000)


@spoken(1, 1)
def date_iso8601(context: Context, value: Value) -> Value:
    moment = _moment(context, value)
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _moment(context: Context, value: Value) -> datetime | None:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError):
        context.warn(1572, "invalid date value")
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# -- arrays ----------------------------------------------------------------------------------------------------------


@spoken(1, 1, "LENGTH", "COUNT")
def length(_context: Context, value: Value) -> Value:
    if isinstance(value, list | dict):
        return len(value)
    if value is None:
        return 0
    return len(to_string(value)) if not isinstance(value, bool) else int(value)


@spoken(1, 1)
def first(context: Context, values: Value) -> Value:
    if not _expects_array(context, "FIRST", values):
        return None
    return values[0] if values else None


@spoken(1, 1)
def last(context: Context, values: Value) -> Value:
    if not _expects_array(context, "LAST", values):
        return None
    return values[-1] if values else None


@spoken(2, 3)
def nth(_context: Context, values: Value, place: Value) -> Value:
    at = int(to_number(place))
    return values[at] if isinstance(values, list) and 0 <= at < len(values) else None


def distinct(values: list[Value]) -> list[Value]:
    seen: dict[Any, Value] = {}
    for one in values:
        seen.setdefault(key(one), one)
    return list(seen.values())


@spoken(1, 1)
def unique(context: Context, values: Value) -> Value:
    return distinct(values) if _expects_array(context, "UNIQUE", values) else None


@spoken(1, 1)
def aql_sorted(context: Context, values: Value) -> Value:
    return sorted(values, key=key) if _expects_array(context, "SORTED", values) else None


@spoken(1, 1)
def sorted_unique(context: Context, values: Value) -> Value:
    return sorted(distinct(values), key=key) if _expects_array(context, "SORTED_UNIQUE", values) else None


@spoken(1, 1, "COUNT_DISTINCT", "COUNT_UNIQUE")
def count_distinct(context: Context, values: Value) -> Value:
    return len(distinct(values)) if _expects_array(context, "COUNT_DISTINCT", values) else None


@spoken(2, 3)
def append(_context: Context, values: Value, more: Value, only_new: Value = False) -> Value:  # noqa: FBT002
    start = [] if values is None else values
    if not isinstance(start, list):
        return None
    extra = [] if more is None else more if isinstance(more, list) else [more]
    if not truth(only_new):
        return [*start, *extra]
    return [*start, *(one for one in distinct(extra) if not contains(start, one))]


@spoken(2, 3)
def push(context: Context, values: Value, one: Value, only_new: Value = False) -> Value:  # noqa: FBT002
    if values is None:
        return [one]
    return append(context, values, [one], only_new)


@spoken(2, 3)
def unshift(_context: Context, values: Value, one: Value, only_new: Value = False) -> Value:  # noqa: FBT002
    start = [] if values is None else values
    return start if truth(only_new) and contains(start, one) else [one, *start]


@spoken(1, 1)
def pop(_context: Context, values: Value) -> Value:
    return values[:-1] if isinstance(values, list) else None


@spoken(1, 1)
def shift(_context: Context, values: Value) -> Value:
    return values[1:] if isinstance(values, list) else None


@spoken(2, 3)
def remove_value(_context: Context, values: Value, one: Value, limit: Value = None) -> Value:
    left_to_do = len(values) if limit is None else int(to_number(limit))
    made = []
    for each in values or []:
        if left_to_do > 0 and equal(each, one):
            left_to_do -= 1
        else:
            made.append(each)
    return made


@spoken(2, 2)
def remove_values(_context: Context, values: Value, others: Value) -> Value:
    return [one for one in values or [] if not contains(others, one)]


@spoken(2, 2)
def remove_nth(_context: Context, values: Value, place: Value) -> Value:
    at = int(to_number(place))
    at = at + len(values) if at < 0 else at
    return [one for number_, one in enumerate(values) if number_ != at]


@spoken(2, 3)
def position(_context: Context, values: Value, sought: Value, index: Value = False) -> Value:  # noqa: FBT002
    place = next((at for at, one in enumerate(values or []) if equal(one, sought)), -1)
    return place if truth(index) else place >= 0


FUNCTIONS["CONTAINS_ARRAY"] = FUNCTIONS["POSITION"]


@spoken(2, 3)
def aql_slice(_context: Context, values: Value, start: Value, count: Value = None) -> Value:
    first_, size = int(to_number(start)), len(values)
    first_ = max(size + first_, 0) if first_ < 0 else first_
    if count is None:
        return values[first_:]
    wanted = int(to_number(count))
    return values[first_ : first_ + wanted] if wanted >= 0 else values[first_:wanted]


@spoken(1, 2)
def flatten(_context: Context, values: Value, depth: Value = 1) -> Value:
    def flat(parts: list[Value], levels: float) -> list[Value]:
        made = []
        for one in parts:
            made.extend(flat(one, levels - 1) if isinstance(one, list) and levels > 0 else [one])
        return made

    return flat(values, to_number(depth))


@spoken(2, MANY)
def union(_context: Context, *arrays: Value) -> Value:
    return [one for values in arrays for one in values]


@spoken(2, MANY)
def union_distinct(_context: Context, *arrays: Value) -> Value:
    return distinct([one for values in arrays for one in values])


@spoken(2, MANY)
def intersection(_context: Context, first_: Value, *others: Value) -> Value:
    return [one for one in distinct(first_) if all(contains(values, one) for values in others)]


@spoken(2, MANY)
def minus(_context: Context, first_: Value, *others: Value) -> Value:
    return [one for one in distinct(first_) if not any(contains(values, one) for values in others)]


@spoken(2, MANY)
def outersection(_context: Context, *arrays: Value) -> Value:
    every = [one for values in arrays for one in distinct(values)]
    return [one for one in distinct(every) if sum(equal(one, other) for other in every) == 1]


# -- objects ---------------------------------------------------------------------------------------------------------


@spoken(1, 3, "ATTRIBUTES", "KEYS")
def attributes(_context: Context, value: Value, without_system: Value = False, in_order: Value = False) -> Value:  # noqa: FBT002
    if not isinstance(value, dict):
        return None
    names = [one for one in value if not (truth(without_system) and one.startswith("_"))]
    return sorted(names) if truth(in_order) else names


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
