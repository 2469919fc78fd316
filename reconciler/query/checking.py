"""From what was said to what can be meant: paths are known, and values are of the kind that stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never

from reconciler.model.query import (
    EVERYTHING,
    And,
    Comparator,
    Compare,
    Contains,
    Exists,
    Expression,
    Like,
    Not,
    OneOf,
    Or,
    Order,
    Query,
    QueryError,
    Value,
    Words,
)
from reconciler.model.registry import AgentState
from reconciler.model.units import Duration, Quantity
from reconciler.query import paths
from reconciler.query.facts import number, rank
from reconciler.query.parser import MAX_PATTERN, MAX_VALUES, MAX_WORDS, Condition, Joined, OrderSaid, Said, Tree, parse
from reconciler.query.paths import Kind
from reconciler.query.patterns import is_whole
from reconciler.query.words import tokens
from reconciler.spec.nearest import did_you_mean, nearest

_SEGMENT = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3})%?\Z", re.ASCII)
_AGO = re.compile(r"ago\(\s*([^\s()]*)\s*\)\Z", re.IGNORECASE)
_STATES = tuple(state.value for state in AgentState if state is not AgentState.GONE)
_RESOURCES = ("cpu", "memory")
_UNEQUAL = ("!=", "<>")


def read_query(text: str, *, now_ms: int) -> Query:
    """Read a query: conditions, and `order by`. Empty text asks for everything. Raises QueryError with the place."""
    parsed = parse(text)
    checker = _Checker(text, now_ms)
    where = EVERYTHING if parsed.where is None else checker.expression(parsed.where)
    orders = tuple(checker.order(order) for order in parsed.orders)
    return Query(where, orders, now_ms if checker.counted_back else 0)


def read_order(text: str) -> tuple[Order, ...]:
    """Read what stands behind `order by`. Raises QueryError."""
    shown = f"order by {text}"
    checker = _Checker(shown, 0)
    parsed = parse(shown)
    return tuple(checker.order(order) for order in parsed.orders)


def read_path(text: str) -> str:
    """Read a path that values can stand at, as facts have it. Raises QueryError."""
    orders = read_order(text)
    if len(orders) != 1 or orders[0].descending:
        raise QueryError("one path is wanted here", text=text, length=len(text), hint="like: state or labels.team")
    return orders[0].path


class _Checker:
    """Of one text at one moment."""

    def __init__(self, text: str, now_ms: int) -> None:
        self._text, self._now_ms = text, now_ms
        self.counted_back = False

    def _error(self, said: Said, problem: str, hint: str = "") -> QueryError:
        return QueryError(problem, text=self._text, start=said.start, length=said.length, hint=hint)

    def expression(self, tree: Tree) -> Expression:
        """Recurses as deep as the parser allows."""
        match tree:
            case Joined(operator="not", parts=(part,)):
                return Not(self.expression(part))
            case Joined(operator="or", parts=parts):
                return Or(tuple(self.expression(part) for part in parts))
            case Joined(parts=parts):
                return And(tuple(self.expression(part) for part in parts))
            case Condition():
                found = self._condition(tree)
                return Not(found) if tree.negated or tree.operator in _UNEQUAL else found
            case _:
                assert_never(tree)

    def order(self, said: OrderSaid) -> Order:
        path, _ = self._path(said.path)
        return Order(path, said.descending)

    def _condition(self, said: Condition) -> Expression:
        if said.path is None:
            return self._words(said.values[0])
        if said.operator == "exists":
            return Exists(self._any_path(said.path))
        path, kind = self._path(said.path)
        match said.operator:
            case "in":
                if len(said.values) > MAX_VALUES:
                    raise self._error(said.place, f"`in` takes at most {MAX_VALUES} values")
                values = (self._value(one, path, kind) for one in said.values)
                return OneOf(path, tuple({rank(value): value for value in values}.values()))
            case "like":
                return self._like(said, path, kind)
            case "contains":
                value = said.values[0].text if kind is Kind.TEXT else self._value(said.values[0], path, kind)
                return Contains(path, value)
            case operator:
                comparator = Comparator("=" if operator in (*_UNEQUAL, "==") else operator)
                return Compare(path, comparator, self._value(said.values[0], path, kind))

    def _like(self, said: Condition, path: str, kind: Kind) -> Like:
        value = said.values[0]
        if kind not in (Kind.TEXT, Kind.ANY):
            raise self._error(said.place, f"`like` compares text, and {path} is {kind}", "compare with = < <= > >=")
        if len(value.text) > MAX_PATTERN:
            raise self._error(value, f"a pattern has at most {MAX_PATTERN} characters")
        if not is_whole(value.text):
            raise self._error(value, "the pattern ends in a lone backslash", "write \\\\ for a backslash")
        return Like(path, value.text)

    def _words(self, said: Said) -> Words:
        words: dict[str, None] = {}
        prefixes: dict[str, None] = {}
        for part in said.text.split():
            found = list(tokens(part))
            for word in found[:-1]:
                words[word] = None
            if found:
                (prefixes if part.endswith("*") else words)[found[-1]] = None
        if not words and not prefixes:
            raise self._error(said, "there is no word in this", "letters and digits make words: words 'refund billing'")
        if len(words) + len(prefixes) > MAX_WORDS:
            raise self._error(said, f"`words` looks for at most {MAX_WORDS} words at once", "name those that tell most")
        return Words(tuple(words), tuple(prefixes))

    def _keys(self, said: Said) -> tuple[str, ...]:
        keys = tuple(
            quoted.replace('""', '"') if quoted or not bare else bare for quoted, bare in _SEGMENT.findall(said.text)
        )
        return paths.canonical(keys)

    def _any_path(self, said: Said) -> str:
        keys = self._keys(said)
        if not paths.is_known(keys):
            raise self._unknown(said, keys)
        return paths.joined(keys)

    def _path(self, said: Said) -> tuple[str, Kind]:
        keys = self._keys(said)
        kind, path = paths.kind_of(keys), paths.joined(keys)
        if kind is None and paths.is_known(keys):
            below = paths.below(path)
            hint = "name one below it: " + ", ".join(below[:8]) if below else "name a key: " + path + ".KEY"
            raise self._error(said, f"{path} holds no value itself", hint)
        if kind is None:
            raise self._unknown(said, keys)
        return path, kind

    def _unknown(self, said: Said, keys: tuple[str, ...]) -> QueryError:
        first, dot, rest = said.text.partition(".")
        root = nearest(first, paths.MAPS.keys() & {"labels"}) if dot else None
        hint = f"did you mean '{root}.{rest[:60]}'?" if root else did_you_mean(said.text, paths.names())
        hint = hint or self._hint_of_last(keys)
        return self._error(said, f"there is no path {said.text[:100]!r} to ask for", hint)

    def _hint_of_last(self, keys: tuple[str, ...]) -> str:
        """A field's own name is what people remember: `memory` for spec.resources.limits.memory."""
        if keys[-1] in _RESOURCES:
            return f"did you mean 'resources.limits.{keys[-1]}' or 'resources.requests.{keys[-1]}'?"
        ends = sorted(name for name in paths.names() if name.rsplit(".", 1)[-1] == keys[-1])
        if ends:
            return "did you mean " + " or ".join(f"'{name}'" for name in ends[:3]) + "?"
        return "paths are those of docs/registry.md: state, labels.KEY, spec.FIELD and others"

    def _value(self, said: Said, path: str, kind: Kind) -> Value:
        if not said.quoted and _AGO.match(said.text) and kind is not Kind.TIME:
            raise self._error(said, f"ago(...) is a time, and {path} is {kind}", "put it in quotes if it is text")
        if path == "state":
            return self._state(said)
        return _READERS[kind](self, said)

    def _state(self, said: Said) -> str:
        if said.text == AgentState.GONE:
            raise self._error(said, "agents that are gone are not searched", "`reconciler history` knows them")
        if said.text not in _STATES:
            hint = did_you_mean(said.text, _STATES) or "states: " + ", ".join(_STATES)
            raise self._error(said, f"there is no state {said.text[:60]!r}", hint)
        return said.text

    def read_text(self, said: Said) -> Value:
        return said.text

    def read_number(self, said: Said) -> Value:
        if not _NUMBER.match(said.text):
            raise self._error(said, f"{said.text[:60]!r} is not a number")
        value = number(float(said.text))
        if value in (float("inf"), float("-inf")):
            raise self._error(said, f"{said.text[:60]} is too large a number")
        return value

    def read_flag(self, said: Said) -> Value:
        if said.text.lower() not in ("true", "false"):
            raise self._error(said, f"{said.text[:60]!r} is neither true nor false")
        return said.text.lower() == "true"

    def read_quantity(self, said: Said) -> Value:
        return self._measured(said, lambda text: float(Quantity.parse(text).value))

    def read_duration(self, said: Said) -> Value:
        return self._measured(said, lambda text: Duration.parse(text).ms)

    def _measured(self, said: Said, measure: Callable[[str], float]) -> Value:
        try:
            return number(measure(said.text))
        except ValueError as error:
            raise self._error(said, str(error)) from None

    def read_percent(self, said: Said) -> Value:
        found = _PERCENT.match(said.text)
        if not found:
            raise self._error(said, f"{said.text[:60]!r} is not a percentage (like 70%)")
        return number(int(found[1]))

    def read_time(self, said: Said) -> Value:
        ago = _AGO.match(said.text)
        if ago:
            self.counted_back = True
            return self._measured(said, lambda _: self._now_ms - Duration.parse(ago[1]).ms)
        if _NUMBER.match(said.text) and len(said.text) > 10:
            return self.read_number(said)
        try:
            moment = datetime.fromisoformat(said.text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        except (ValueError, OverflowError):
            hint = "like 2026-01-31, 2026-01-31T12:00:00Z or ago(2h)"
            raise self._error(said, f"{said.text[:60]!r} is not a time", hint) from None
        return number((since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000)

    def read_json(self, said: Said) -> Value:
        if said.quoted:
            return said.text
        if said.text in ("true", "false"):
            return said.text == "true"
        return self.read_number(said) if _NUMBER.match(said.text) else said.text


_READERS: dict[Kind, Callable[[_Checker, Said], Value]] = {
    Kind.TEXT: _Checker.read_text,
    Kind.NUMBER: _Checker.read_number,
    Kind.FLAG: _Checker.read_flag,
    Kind.TIME: _Checker.read_time,
    Kind.QUANTITY: _Checker.read_quantity,
    Kind.DURATION: _Checker.read_duration,
    Kind.PERCENT: _Checker.read_percent,
    Kind.ANY: _Checker.read_json,
}
