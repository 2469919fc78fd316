"""What Pydantic found, said to people: code, words, and the place where the value was written.

May live here: translating errors of the authoring models. Must not: judge anything itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from reconciler.model.identity import FieldPath, format_path
from reconciler.spec.documents import item_name
from reconciler.spec.fields import DNS_LABEL, DNS_SUBDOMAIN, PATH_SEGMENT, PORT_NAME, TIME_OF_DAY
from reconciler.spec.nearest import did_you_mean

MAX_SHOWN = 40
MAX_PROBLEMS = 50
"""Findings of one document that are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A finding before its place is known. `path` from the judged value; `key`: the key is wrong, not the value."""

    code: str
    message: str
    path: FieldPath
    hint: str = ""
    key: bool = False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (type(None), "nothing"),
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (dict, "a mapping"),
    (list, "a list"),
)


def _type_name(value: Any) -> str:
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), type(value).__name__)


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_CODES = {
    "bad_quantity": "bad-quantity",
    "bad_duration": "bad-duration",
    "bad_template": "bad-template",
    "bad_percent": "bad-percentage",
    "one_of_none": "one-of",
    "one_of_many": "one-of-many",
    "duplicate_name": "duplicate-name",
    "bad_timezone": "bad-timezone",
}


def problems(error: ValidationError, value: Any, model: type[BaseModel]) -> list[Problem]:
    """All that is wrong with `value`, one finding a place, in the order of the file's fields.

    Names are compared for the first MAX_PROBLEMS alone: the others are counted by `bounded`, if anybody sees them.
    """
    found: dict[FieldPath, Problem] = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=True):
        path, rest = _walk(value, detail["loc"])
        problem = _problem(detail, path, rest, model if len(found) < MAX_PROBLEMS else None)
        known = found.get(problem.path)
        if known is None or (known.code == "wrong-type" and problem.code != "wrong-type"):
            found[problem.path] = problem
    above = {path[:depth] for path in found for depth in range(len(path))}
    return [problem for problem in found.values() if not _explained(problem, above)]


def _explained(problem: Problem, above: Collection[FieldPath]) -> bool:
    """A branch of a union that was not meant, or a list short of its bad items: something deeper says it better."""
    return problem.code in ("wrong-type", "out-of-range") and problem.path in above


def bounded(found: Sequence[Problem]) -> list[Problem]:
    """The first MAX_PROBLEMS of one document's findings, and one that counts the others.

    Each is looked up in its file, so telling all would cost as much as the file is long times as many as there are.
    The last has the place and code of the first that it counts, so that its source line is masked where that one's is.
    """
    if len(found) <= MAX_PROBLEMS:
        return list(found)
    message = f"and {len(found) - MAX_PROBLEMS} more in this file"
    return [*found[:MAX_PROBLEMS], replace(found[MAX_PROBLEMS], message=message, hint="")]


def _walk(value: Any, loc: tuple[str | int, ...]) -> tuple[FieldPath, tuple[str | int, ...]]:
    """The part of Pydantic's location that is in the value (union branches are not), and what is left of it."""
    path: list[str] = []
    for index, part in enumerate(loc):
        if isinstance(part, int) and isinstance(value, list | tuple) and part < len(value):
            value = value[part]
            path.append(f"[{item_name(value) or part}]")
        elif isinstance(value, dict) and part in value:
            value = value[part]
            path.append(str(part))
        elif isinstance(value, dict) and index == len(loc) - 1:
            return tuple(path), (part,)
    return tuple(path), ()


def _problem(  # noqa: PLR0911 - a table of cases, one return each
    detail: Any, path: FieldPath, rest: tuple[str | int, ...], model: type[BaseModel] | None
) -> Problem:
    kind: str = detail["type"]
    given = detail["input"]
    if kind == "extra_forbidden":
        name = path[-1]
        return Problem(
            code="unknown-field",
            message=f"unknown field {name[:MAX_SHOWN]!r}",
            path=path,
            hint=did_you_mean(name, _fields_at(model, path[:-1])) if model else "",
            key=True,
        )
    if kind == "missing":
        name = str(rest[-1]) if rest else ""
        return Problem(code="missing-field", message=f"{name!r} is missing", path=path, key=True)
    if kind in _CODES:
        return Problem(code=_CODES[kind], message=detail["msg"], path=path)
    if kind in _WANTED:
        hint = "quote it" if kind == "string_type" and isinstance(given, int | float) else ""
        message = f"{_WANTED[kind]} is expected here, not {_type_name(given)}"
        return Problem(code="wrong-type", message=message, path=path, hint=hint)
    if kind == "literal_error":
        known = [part.strip(" '") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(",")]
        hint = did_you_mean(given, known) if isinstance(given, str) and model else ""
        message = f"{_shown(given)} is not one of {', '.join(known)}"
        return Problem(code="not-one-of", message=message, path=path, hint=hint)
    if kind == "string_pattern_mismatch":
        where = format_path(path[-1:]).strip("[]") if path else "this"
        message = f"{_shown(given)} is not valid as {where}"
        return Problem(code="bad-text", message=message, path=path, hint=_pattern_hint(detail["ctx"]["pattern"]))
    return Problem(code="out-of-range", message=f"{_shown(given)}: {detail['msg'].lower()}", path=path)


def _pattern_hint(pattern: str) -> str:
    if pattern.startswith(DNS_LABEL):
        return "lower-case letters, digits and dashes, beginning and ending with a letter or digit"
    if pattern == DNS_SUBDOMAIN:
        return "lower-case letters, digits and dashes, in parts with dots between them, no dash at a part's ends"
    if pattern == PORT_NAME:
        return "lower-case letters, digits and single dashes between them, with at least one letter"
    if pattern == PATH_SEGMENT:
        return "a name without / and %"
    if pattern == TIME_OF_DAY:
        return "a time of day with two digits each, from 00:00 to 24:00"
    return f"it must match {pattern}"


def _fields_at(model: type[BaseModel], path: FieldPath) -> list[str]:
    """The field names (as written) that the model knows at `path`; none where it takes any key."""
    here: list[type[BaseModel]] = [model]
    for part in path:
        if part.startswith("["):
            continue
        here = [inner for outer in here for inner in _models_of(outer, part)]
    return [info.alias or name for known in here for name, info in known.model_fields.items()]


def _models_of(model: type[BaseModel], alias: str) -> list[type[BaseModel]]:
    for name, info in model.model_fields.items():
        if (info.alias or name) == alias:
            return _models_in(info.annotation)
    return []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple) or get_args(annotation):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []


PARTIAL = frozenset({"missing-field", "one-of"})
"""Findings that a template or an agent on a template may have alone: another layer may fill in what is missing."""
