"""Text to a tree of what was said, with the place of everything. Whether it can be meant, `checking` decides.

Grammar, bounds, and what to say of text that does not fit the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reconciler.model.query import QueryError

if TYPE_CHECKING:
    from lark import Lark, Token
    from lark.exceptions import UnexpectedInput

MAX_TEXT = 16_384
MAX_DEPTH = 64
MAX_CONDITIONS = 200
MAX_VALUES = 1_000
MAX_ORDERS = 8
MAX_PATTERN = 1_000
MAX_WORDS = 100

_GRAMMAR = r"""
start: either? orders?
either: both (_OR both)*
both: condition (_AND condition)*
?condition: _NOT condition -> negated
    | "(" either ")"
    | PATH OPERATOR value -> comparison
    | PATH NOT? IN "(" value ("," value)* ")" -> among
    | PATH NOT? (LIKE | CONTAINS) value -> matching
    | EXISTS PATH -> existing
    | WORDS value -> texts
?value: QUOTED | AGO | BARE
orders: _ORDER order ("," order)*
order: PATH (ASC | DESC)?

_OR.3: /or(?![\w.-])/i
_AND.3: /and(?![\w.-])/i
_NOT.3: /not(?![\w.-])/i
_ORDER.3: /order\s+by(?![\w.-])/i
NOT.3: /not(?![\w.-])/i
IN.3: /in(?![\w.-])/i
LIKE.3: /like(?![\w.-])/i
CONTAINS.3: /contains(?![\w.-])/i
EXISTS.3: /exists(?![\w.-])/i
WORDS.3: /words(?![\w.-])/i
ASC.3: /asc(?![\w.-])/i
DESC.3: /desc(?![\w.-])/i
OPERATOR: /<=|>=|==|!=|<>|<|>|=/
AGO.2: /ago\(\s*[^\s()]*\s*\)/i
QUOTED: /'(?:[^']|'')*'|"(?:[^"]|"")*"/
PATH: /[A-Za-z_]\w*(?:\.(?:[\w][\w\/-]*|"(?:[^"]|"")*"))*/
BARE: /[^\s(),'"=<>!]+/
%ignore /\s+/
"""

_NAMES = {
    "_OR": "or", "_AND": "and", "_NOT": "not", "NOT": "not", "_ORDER": "order by", "IN": "in", "LIKE": "like",
    "CONTAINS": "contains", "EXISTS": "exists", "WORDS": "words", "ASC": "asc", "DESC": "desc",
    "OPERATOR": "= != < <= > >=", "BARE": "a value", "QUOTED": "a value", "AGO": "a value", "PATH": "a path",
    "LPAR": "(", "RPAR": ")", "COMMA": ",", "$END": "the end",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """A word of the text, where it stands, and whether it stood in quotes (which are gone)."""

    text: str
    start: int
    length: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """`path` is None for `words`. `operator` as written in lower case: `=`, `in`, `like`, `exists`, `words`, ..."""

    path: Said | None
    operator: str
    values: tuple[Said, ...]
    place: Said
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """`operator`: and, or, not (of one part). `depth` of what is below, `conditions` in it."""

    operator: str
    parts: tuple[Tree, ...]
    depth: int
    conditions: int


Tree = Condition | Joined


@dataclass(frozen=True, slots=True)
class OrderSaid:
    path: Said
    descending: bool


@dataclass(frozen=True, slots=True)
class Parsed:
    where: Tree | None
    orders: tuple[OrderSaid, ...]


def parse(text: str) -> Parsed:
    """Read a query. Raises QueryError with the place of what does not fit."""
    if len(text) > MAX_TEXT:
        raise QueryError(f"a query of {len(text)} characters is too long: at most {MAX_TEXT}")
    odd = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", text)
    if odd:
        raise QueryError(
            f"a query cannot hold the character U+{ord(odd.group()):04X}", text=text, start=odd.start(), length=1
        )
    from lark.exceptions import UnexpectedInput

    try:
        parsed = _lark().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    assert isinstance(parsed, Parsed)  # noqa: S101 - what the rule `start` makes
    for problem, place in _over(parsed):
        raise QueryError(problem, text=text, start=place.start, length=place.length)
    return parsed


@lru_cache(maxsize=1)
def _lark() -> Lark:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", transformer=_Maker(), maybe_placeholders=False)


class _Maker:
    """What lark calls as it recognises a rule: from the leaves up, so that nothing here recurses."""

    def start(self, parts: Sequence[Any]) -> Parsed:
        where = next((part for part in parts if isinstance(part, Condition | Joined)), None)
        return Parsed(where, next((part for part in parts if isinstance(part, tuple)), ()))

    def either(self, parts: Sequence[Tree]) -> Tree:
        return _joined("or", parts)

    def both(self, parts: Sequence[Tree]) -> Tree:
        return _joined("and", parts)

    def negated(self, parts: Sequence[Tree]) -> Tree:
        return Joined("not", tuple(parts), _depth(parts) + 1, _conditions(parts))

    def comparison(self, parts: Sequence[Token]) -> Condition:
        path, operator, value = parts
        return Condition(_said(path), str(operator), (_said(value),), _said(operator))

    def among(self, parts: Sequence[Token]) -> Condition:
        path, *rest = parts
        word = next(part for part in rest if part.type == "IN")
        values = tuple(_said(part) for part in rest if part.type not in ("IN", "NOT"))
        return Condition(_said(path), "in", values, _said(word), negated=rest[0].type == "NOT")

    def matching(self, parts: Sequence[Token]) -> Condition:
        path, *rest = parts
        *words, value = rest
        return Condition(
            _said(path), words[-1].lower(), (_said(value),), _said(words[-1]), negated=words[0].type == "NOT"
        )

    def existing(self, parts: Sequence[Token]) -> Condition:
        word, path = parts
        return Condition(_said(path), "exists", (), _said(word))

    def texts(self, parts: Sequence[Token]) -> Condition:
        word, value = parts
        return Condition(None, "words", (_said(value),), _said(word))

    def orders(self, parts: Sequence[OrderSaid]) -> tuple[OrderSaid, ...]:
        return tuple(parts)

    def order(self, parts: Sequence[Token]) -> OrderSaid:
        return OrderSaid(_said(parts[0]), parts[-1].type == "DESC")


def _said(token: Token) -> Said:
    text, start = str(token), token.start_pos or 0
    if token.type == "QUOTED":
        mark = text[0]
        return Said(text[1:-1].replace(mark * 2, mark), start, len(text), quoted=True)
    return Said(text, start, len(text))


def _joined(operator: str, parts: Sequence[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else Joined(operator, tuple(parts), _depth(parts) + 1, _conditions(parts))


def _depth(parts: Sequence[Tree]) -> int:
    return max(part.depth if isinstance(part, Joined) else 0 for part in parts)


def _conditions(parts: Sequence[Tree]) -> int:
    return sum(part.conditions if isinstance(part, Joined) else 1 for part in parts)


def _over(parsed: Parsed) -> list[tuple[str, Said]]:
    """What exceeds a bound: a problem and its place."""
    found: list[tuple[str, Said]] = []
    if len(parsed.orders) > MAX_ORDERS:
        found.append((f"an order has at most {MAX_ORDERS} paths", parsed.orders[MAX_ORDERS].path))
    where = parsed.where
    if isinstance(where, Joined) and where.depth > MAX_DEPTH:
        found.append((f"conditions stand more than {MAX_DEPTH} deep in one another", Said("", 0, 1)))
    elif isinstance(where, Joined) and where.conditions > MAX_CONDITIONS:
        many = f"a query has at most {MAX_CONDITIONS} conditions, and this has {where.conditions}"
        found.append((f"{many}; `in` compares to many values", Said("", 0, 1)))
    return found


_LOOKS = {
    "&": "write `and`", "|": "write `or`", "!": "write `not`, or `!=` between path and value",
    "'": "a text that begins with ' ends with one; inside it stands twice",
    '"': 'a text that begins with " ends with one; inside it stands twice', ";": "one query at a time",
}  # fmt: skip


def _unexpected(text: str, error: UnexpectedInput) -> QueryError:
    """Say of text that does not fit what could stand there instead."""
    expected: set[str] = set(getattr(error, "accepts", None) or getattr(error, "expected", None) or
                             getattr(error, "allowed", None) or ())  # fmt: skip
    token = getattr(error, "token", None)
    start = len(text.rstrip()) if token is not None and token.type == "$END" else (error.pos_in_stream or 0)
    rest = text[start:]
    found = re.match(r"[\w.%/-]+|\S", rest)
    word = found.group()[:40] if found else ""
    names = sorted({_NAMES.get(name, name) for name in expected if name != "$END"})
    hint = "this ) closes nothing" if word == ")" and expected <= {"_ORDER", "$END"} else _LOOKS.get(word[:1], "")
    if not hint and "EXISTS" in expected and not word:
        hint = "a condition follows, like: state = running"
    if not hint and names:
        hint = "what fits: " + ", ".join(names)
    problem = f"the query cannot go on with {word!r}" if word else "the query ends too early"
    return QueryError(problem, text=text, start=start, length=len(word) or 1, hint=hint)
