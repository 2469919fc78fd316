"""Functions of AQL on strings."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse

from tests.doubles.arango.aql.context import Context
from tests.doubles.arango.aql.table import MANY, spoken
from tests.doubles.arango.values import (
    Value,
    dumps,
    loads,
    to_number,
    to_string,
    truth,
)


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
