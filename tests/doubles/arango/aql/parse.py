"""Text of AQL to its syntax tree. Errors are 1501, with the place; what the double does not speak is Unsupported."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken
from lark.exceptions import VisitError

from tests.doubles.arango.aql import nodes
from tests.doubles.arango.aql.grammar import BEYOND, GRAMMAR, TOKEN_NAMES
from tests.doubles.arango.errors import ArangoError, Unsupported
from tests.doubles.arango.values import number

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_STRINGS_AND_COMMENTS = re.compile(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'|`[^`]*`|//[^\n]*|/\*.*?\*/", re.DOTALL)
_OPERATORS = {"&&": "AND", "||": "OR", "!": "NOT"}


def _unescape(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        what = found[1]
        return chr(int(what[1:], 16)) if what[0] == "u" and len(what) > 1 else _ESCAPES.get(what, what)

    return _ESCAPE.sub(one, text).encode("utf-16", "surrogatepass").decode("utf-16")


def _name(token: Any) -> str:
    text = str(token)
    return text[1:-1] if text[0] in "`´" else text


def _operator(token: Any) -> str:
    text = re.sub(r"\s+", " ", str(token)).upper()
    return _OPERATORS.get(text, text)


def _replace_target(expression: nodes.Expr, apply: Any) -> nodes.Expr:
    """What follows `[*]` belongs to each member: it goes into the expansion."""
    if isinstance(expression, nodes.Expansion) and expression.projection is None:
        e = expression
        return nodes.Expansion(e.target, e.levels, e.filter, e.limit, e.projection, _replace_target(e.follows, apply))
    made: nodes.Expr = apply(expression)
    return made


class _Builder(Transformer[Token, Any]):
    """lark's tree to nodes, from the leaves up."""

    def query(self, items: list[Any]) -> nodes.Query:
        return nodes.Query(tuple(one for item in items for one in (item if isinstance(item, list) else [item])))

    def clause(self, items: list[Any]) -> Any:
        return items[0]

    final = final_modify = clause

    def _for(self, items: list[Any]) -> nodes.For:
        options = items[4] if len(items) > 4 else None
        return nodes.For(_name(items[1]), items[3], options)

    def filter(self, items: list[Any]) -> nodes.Filter:
        return nodes.Filter(items[1])

    def let(self, items: list[Any]) -> list[nodes.Let]:
        return [nodes.Let(*one) for one in items[1:]]

    def assignment(self, items: list[Any]) -> tuple[str, nodes.Expr]:
        return (_name(items[0]), items[1])

    def sort(self, items: list[Any]) -> nodes.Sort:
        return nodes.Sort(tuple(items[1:]))

    def criterion(self, items: list[Any]) -> tuple[nodes.Expr, bool]:
        return (items[0], len(items) == 1 or items[1])

    def direction(self, items: list[Any]) -> bool:
        return str(items[0]).upper().startswith("ASC")

    def limit(self, items: list[Any]) -> nodes.Limit:
        return nodes.Limit(items[1], items[2]) if len(items) > 2 else nodes.Limit(nodes.Literal(0), items[1])

    def return_distinct(self, items: list[Any]) -> nodes.Return:
        return nodes.Return(items[2], distinct=True)

    def return_all(self, items: list[Any]) -> nodes.Return:
        return nodes.Return(items[1], distinct=False)

    # -- COLLECT -----------------------------------------------------------------------------------------------------

    def collect(self, items: list[Any]) -> nodes.Collect:
        parts: dict[str, Any] = {"options": None}
        for one in items[1:]:
            parts |= one if isinstance(one, dict) else {"options": one}
        return nodes.Collect(
            parts.get("groups", ()),
            parts.get("aggregates", ()),
            parts.get("into"),
            parts.get("projection"),
            parts.get("keep"),
            parts.get("count_into"),
            parts["options"],
        )

    def groups(self, items: list[Any]) -> dict[str, Any]:
        return {"groups": tuple(items)}

    def aggregates(self, items: list[Any]) -> dict[str, Any]:
        return {"aggregates": tuple(items[1:])}

    def into(self, items: list[Any]) -> dict[str, Any]:
        return {"into": _name(items[1]), "keep": items[2] if len(items) > 2 else None}

    def into_projection(self, items: list[Any]) -> dict[str, Any]:
        return {"into": _name(items[1]), "projection": items[2]}

    def with_count(self, items: list[Any]) -> dict[str, Any]:
        return {"count_into": _name(items[3])}

    def keep(self, items: list[Any]) -> tuple[str, ...]:
        return tuple(_name(one) for one in items[1:])

    # -- data modification -------------------------------------------------------------------------------------------

    def collection(self, items: list[Any]) -> nodes.Expr:
        if items[0].type == "BIND_COLLECTION":
            return nodes.BindCollection(str(items[0])[1:])
        return nodes.Ref(_name(items[0]))

    def options(self, items: list[Any]) -> Any:
        return items[1]

    def _modify(self, kind: str, document: nodes.Expr, patch: nodes.Expr | None, rest: list[Any]) -> nodes.Modify:
        return nodes.Modify(kind, document, patch, rest[0], rest[1] if len(rest) > 1 else None)

    def insert(self, items: list[Any]) -> nodes.Modify:
        return self._modify("INSERT", items[1], None, items[3:])

    def update_self(self, items: list[Any]) -> nodes.Modify:
        return self._modify("UPDATE", items[1], items[1], items[3:])

    def update_with(self, items: list[Any]) -> nodes.Modify:
        return self._modify("UPDATE", items[1], items[3], items[5:])

    def replace_self(self, items: list[Any]) -> nodes.Modify:
        return self._modify("REPLACE", items[1], items[1], items[3:])

    def replace_with(self, items: list[Any]) -> nodes.Modify:
        return self._modify("REPLACE", items[1], items[3], items[5:])

    def remove(self, items: list[Any]) -> nodes.Modify:
        return self._modify("REMOVE", items[1], None, items[3:])

    def _upsert(self, kind: str, items: list[Any]) -> nodes.Upsert:
        return nodes.Upsert(items[1], items[3], kind, items[5], items[7], items[8] if len(items) > 8 else None)

    def upsert_update(self, items: list[Any]) -> nodes.Upsert:
        return self._upsert("UPDATE", items)

    def upsert_replace(self, items: list[Any]) -> nodes.Upsert:
        return self._upsert("REPLACE", items)

    # -- expressions -------------------------------------------------------------------------------------------------

    def ternary_full(self, items: list[Any]) -> nodes.Ternary:
        return nodes.Ternary(*items)

    def ternary_short(self, items: list[Any]) -> nodes.Ternary:
        return nodes.Ternary(items[0], None, items[1])

    def binary(self, items: list[Any]) -> nodes.Binary:
        return nodes.Binary(_operator(items[1]), items[0], items[2])

    def quantifier(self, items: list[Any]) -> str:
        return str(items[0]).upper()

    def quantified(self, items: list[Any]) -> nodes.Quantified:
        return nodes.Quantified(items[1], _operator(items[2]), items[0], items[3])

    def unary(self, items: list[Any]) -> nodes.Expr:
        operator, operand = _operator(items[0]), items[1]
        is_number = isinstance(operand, nodes.Literal) and type(operand.value) in (int, float)
        if operator == "-" and isinstance(operand, nodes.Literal) and is_number:
            return nodes.Literal(-operand.value)
        return nodes.Unary(operator, operand)

    def attribute(self, items: list[Any]) -> nodes.Expr:
        return _replace_target(items[0], lambda target: nodes.Attribute(target, _name(items[1])))

    def attribute_bind(self, items: list[Any]) -> nodes.Expr:
        return _replace_target(items[0], lambda target: nodes.Attribute(target, nodes.Bind(str(items[1])[1:])))

    def subscript(self, items: list[Any]) -> nodes.Expr:
        return _replace_target(items[0], lambda target: nodes.Subscript(target, items[1]))

    def expansion(self, items: list[Any]) -> nodes.Expr:
        inline = dict(items[2:])

        def expand(target: nodes.Expr) -> nodes.Expr:
            return nodes.Expansion(
                target,
                str(items[1]).count("*"),
                inline.get("filter"),
                inline.get("limit"),
                inline.get("return"),
                nodes.Ref(nodes.CURRENT_MEMBER),
            )

        return _replace_target(items[0], expand)

    def inline_filter(self, items: list[Any]) -> tuple[str, Any]:
        return ("filter", items[1])

    def inline_limit(self, items: list[Any]) -> tuple[str, Any]:
        return ("limit", (items[1], items[2]) if len(items) > 2 else (nodes.Literal(0), items[1]))

    def inline_return(self, items: list[Any]) -> tuple[str, Any]:
        return ("return", items[1])

    def ref(self, items: list[Any]) -> nodes.Ref:
        return nodes.Ref(_name(items[0]))

    def bind(self, items: list[Any]) -> nodes.Bind:
        return nodes.Bind(str(items[0])[1:])

    def bind_collection(self, items: list[Any]) -> nodes.BindCollection:
        return nodes.BindCollection(str(items[0])[1:])

    def null(self, _items: list[Any]) -> nodes.Literal:
        return nodes.Literal(None)

    def true(self, _items: list[Any]) -> nodes.Literal:
        return nodes.Literal(value=True)

    def false(self, _items: list[Any]) -> nodes.Literal:
        return nodes.Literal(value=False)

    def integer(self, items: list[Any]) -> nodes.Literal:
        return nodes.Literal(number(int(str(items[0]), 0)))

    def double(self, items: list[Any]) -> nodes.Literal:
        return nodes.Literal(number(float(str(items[0]))))

    def string(self, items: list[Any]) -> nodes.Literal:
        return nodes.Literal(_unescape(str(items[0])[1:-1]))

    def function(self, items: list[Any]) -> str:
        return "".join(str(one) for one in items).upper()

    def call(self, items: list[Any]) -> nodes.Call:
        return nodes.Call(items[0], tuple(items[1] or ()))

    def arguments(self, items: list[Any]) -> list[Any]:
        return items

    def subquery(self, items: list[Any]) -> nodes.Subquery:
        return nodes.Subquery(items[0])

    def array(self, items: list[Any]) -> nodes.Array:
        return nodes.Array(tuple(items))

    def object(self, items: list[Any]) -> nodes.Object:
        return nodes.Object(tuple(items))

    def pair_short(self, items: list[Any]) -> tuple[Any, Any]:
        return (_name(items[0]), nodes.Ref(_name(items[0])))

    def pair_short_bind(self, items: list[Any]) -> tuple[Any, Any]:
        name = str(items[0])[1:]
        return (name, nodes.Bind(name))

    def pair_named(self, items: list[Any]) -> tuple[Any, Any]:
        return (_name(items[0]), items[1])

    def pair_string(self, items: list[Any]) -> tuple[Any, Any]:
        return (_unescape(str(items[0])[1:-1]), items[1])

    def pair_bind(self, items: list[Any]) -> tuple[Any, Any]:
        return (nodes.Bind(str(items[0])[1:]), items[1])

    def pair_computed(self, items: list[Any]) -> tuple[Any, Any]:
        return (items[0], items[1])


setattr(_Builder, "for", _Builder._for)
setattr(_Builder, "return", None)
_PARSER = Lark(GRAMMAR, start="query", parser="lalr", keep_all_tokens=False, propagate_positions=False)


@lru_cache(maxsize=1000)
def parse(text: str) -> nodes.Query:
    """The syntax tree of a query. Raises ArangoError 1501, 1502 and Unsupported."""
    if not text.strip():
        raise ArangoError(1502)
    words = set(re.findall(r"(?<![.@\w])[A-Z_]+\b", _STRINGS_AND_COMMENTS.sub('""', text).upper()))
    beyond = words & set(BEYOND)
    try:
        tree = _PARSER.parse(text)
        made = _Builder().transform(tree)
    except UnexpectedToken as error:
        if re.search(r"\b(FOR|LET)\s*$", text[: error.token.start_pos or 0], re.IGNORECASE) and error.token in (
            "[",
            "{",
        ):
            raise Unsupported("AQL that takes values apart in FOR or LET") from None
        if beyond:
            raise Unsupported(f"AQL with {', '.join(sorted(beyond))}") from None
        name = TOKEN_NAMES.get(error.token.type, error.token.type)
        raise _syntax(text, error.token.start_pos, f"unexpected {name}", end=error.token.type == "$END") from None
    except UnexpectedCharacters as error:
        raise _syntax(text, error.pos_in_stream, "unexpected character") from None
    except UnexpectedEOF:
        raise _syntax(text, len(text), "unexpected end of query string", end=True) from None
    except VisitError as error:
        raise error.orig_exc from None
    if not isinstance(made, nodes.Query):
        raise TypeError(made)
    return made


def _syntax(text: str, position: int | None, what: str, *, end: bool = False) -> ArangoError:
    position = len(text) if end or position is None else position
    before = text[:position]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    near = text[position:]
    near = near if len(near) <= 32 else f"{near[:32]}..."
    shown = f" near '{near}'" if near else ""
    return ArangoError(1501, f"syntax error, {what}{shown} at position {line}:{column}")
