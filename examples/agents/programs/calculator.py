"""Works out arithmetic: numbers, + - * / // % and brackets, nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from a2a import Config, serve

MAX_TEXT = 500
BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError("only numbers can be reckoned with")
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return BINARY[type(op)](value(left), value(right))
        case _:
            raise ValueError("only numbers, + - * / // % and brackets are understood")


def answer(text: str, _: Config) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(f"at most {MAX_TEXT} characters")
    try:
        return f"{value(ast.parse(text.strip(), mode='eval').body):.12g}"
    except (SyntaxError, ZeroDivisionError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None


if __name__ == "__main__":
    serve(answer)
