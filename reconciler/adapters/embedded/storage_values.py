"""How values are stored: null and zero values left out, quantities in their canonical form.

After Go's JSON of the API types (`omitempty` drops what is zero and no pointer) and `resource.Quantity`.
"""

from __future__ import annotations

import copy
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from reconciler.adapters.embedded.fieldset import Undeclared
from reconciler.adapters.embedded.schema_tables import Kind, Node, Shape
from reconciler.model.errors import Rejected
from reconciler.model.identity import ObjectRef

_QUANTITY = re.compile(
    r"([+-]?)([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:([KMGTPE]i)|([numkMGTPE]?)|[eE]([+-]?[0-9]{1,2}))\Z",
    re.ASCII,
)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL.items()}
_BINARY_NAMES = {exponent: name for name, exponent in _BINARY.items()}
_NANO, _MILLI = -9, -3
_MOST = 2**63 - 1
_DIGITS, _BINARY_DIGITS = 18, 15
_DROP: Any = object()


@lru_cache(maxsize=4096)
def canonical_quantity(text: str, *, milli: bool = False) -> str:
    """`1000m` as `1`, `1.50` as `1500m`, `0.5Gi` as `512Mi`; `1.500` and `+1` stay. Raises ValueError.

    With `milli`, as in lists of resources, what is finer than a thousandth is rounded up to one.
    """
    found = _QUANTITY.match(text) if len(text) <= 64 else None
    if found is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    sign, digits, binary, decimal, exponent = found.groups()
    value = Fraction(digits)
    if binary:
        kept, scale = _stays_binary(digits, _BINARY[binary]), 0
        value = min(value * 2 ** _BINARY[binary], Fraction(_MOST))
    else:
        power = int(exponent) if exponent else _DECIMAL[decimal or ""]
        kept, scale = _stays_decimal(digits, power)
        value *= Fraction(10) ** power
    if milli and (value * 1000).denominator > 1:
        value = Fraction(-(-value.numerator * 1000 // value.denominator), 1000)
    elif kept and not (milli and scale < _MILLI):
        return text
    if binary and value >= 1024 and value.denominator == 1:
        return _signed(sign, _as_binary(value))
    return _signed(sign, _as_decimal(value, suffixes=not exponent))


def _stays_decimal(digits: str, power: int) -> tuple[bool, int]:
    """Whether servers keep a text as it is, being close enough to its canonical form; and its last power of ten.

    Source: ParseQuantity in k8s.io/apimachinery/pkg/api/resource, what it keeps of a number that fits into 64 bits.
    """
    whole, fraction = _parts(digits)
    scale = power - len(fraction)
    fits = len(whole) + len(fraction) <= _DIGITS and scale >= _NANO
    shifted = whole + fraction
    return fits and scale % 3 == 0 and not shifted.endswith("000") and shifted[0] != "0", scale


def _stays_binary(digits: str, power: int) -> bool:
    """The same for binary suffixes: no fraction, few digits, and no multiple of eight."""
    whole, fraction = _parts(digits)
    return not fraction and len(whole) + power * 3 // 10 < _BINARY_DIGITS and int(whole) % 8 != 0


def _parts(digits: str) -> tuple[str, str]:
    """Digits before the point without the zeros that lead them, and those behind it."""
    whole, _, fraction = digits.partition(".")
    return whole.lstrip("0") or "0", fraction


def _signed(sign: str, text: str) -> str:
    return f"-{text}" if sign == "-" and text != "0" else text


def _as_binary(value: Fraction) -> str:
    whole = -(-value.numerator // value.denominator)
    shift = 0
    while whole % 1024 == 0 and shift < 60:
        whole //= 1024
        shift += 10
    return f"{whole}{_BINARY_NAMES.get(shift, '')}"


def _as_decimal(value: Fraction, *, suffixes: bool) -> str:
    """The largest exponent that is a multiple of three and leaves an integer; finer than nano is rounded up."""
    nano = value * 10**9
    whole = -(-nano.numerator // nano.denominator)
    if whole == 0:
        return "0"
    exponent = -9
    while whole % 1000 == 0 and exponent < 18:
        whole //= 1000
        exponent += 3
    if suffixes:
        return f"{whole}{_DECIMAL_NAMES[exponent]}"
    return f"{whole}e{exponent}" if exponent else str(whole)


def canonical(obj: dict[str, Any], kind: Kind, ref: ObjectRef) -> dict[str, Any]:
    """A deep copy of `obj` as it is stored. Raises Rejected for quantities that are none."""
    body = _copied(obj, kind, ref)
    body["apiVersion"], body["kind"] = kind.api_version, kind.name
    metadata = body.setdefault("metadata", {})
    metadata["name"] = ref.name
    if kind.namespaced:
        metadata["namespace"] = ref.namespace
    return body


def canonical_status(status: dict[str, Any], kind: Kind, ref: ObjectRef) -> dict[str, Any]:
    """A deep copy of a status as it is stored. Raises Rejected."""
    copied: dict[str, Any] = _copied({"status": status}, kind, ref)["status"]
    return copied


def _copied(obj: dict[str, Any], kind: Kind, ref: ObjectRef) -> dict[str, Any]:
    try:
        copied: dict[str, Any] = _copy(obj, kind.node, "")
    except Undeclared as problem:
        raise Rejected(f"{ref}: {problem}", ref=ref) from None
    return copied


def _copy(value: Any, node: Node, path: str) -> Any:
    shape = node.shape
    if shape is Shape.SCALAR:
        return _scalar(value, node, path)
    if value is None:
        return _DROP
    if shape is Shape.ATOMIC and node.inner is not None:
        return _copy(value, node.inner, path)
    if isinstance(value, list):
        return _copy_list(value, node, path)
    if shape is Shape.MAP:
        return _copy_map(value, node, path)
    result = {}
    fields = node.fields
    for key, child in value.items():
        inner = fields.get(key)
        if inner is not None and inner.scalar == "str" and child:
            result[key] = child
            continue
        copied = _DROP if inner is None else _copy(child, inner, f"{path}.{key}")
        if copied is not _DROP:
            result[key] = copied
    return result


def _copy_list(value: list[Any], node: Node, path: str) -> Any:
    item = node.item
    if not value or item is None:
        return _DROP
    if item.shape is Shape.SCALAR:
        return list(value)
    return [{} if (copied := _copy(one, item, path)) is _DROP else copied for one in value]


def _copy_map(value: dict[str, Any], node: Node, path: str) -> Any:
    item = node.item
    if item is None or not value:
        return _DROP
    if item.scalar in {"str", "bytes"}:
        return {key: "" if child is None else child for key, child in value.items()}
    if item.scalar == "quantity":
        return {key: _quantity(child, f"{path}.{key}", milli=True) for key, child in value.items() if child is not None}
    copies = ((key, _copy(child, item, f"{path}.{key}")) for key, child in value.items())
    return {key: child for key, child in copies if child is not _DROP}


def _scalar(value: Any, node: Node, path: str) -> Any:
    if value is None or (not value and not node.keep and node.scalar != "any"):
        return _DROP
    if node.scalar == "quantity":
        return _quantity(value, path)
    if node.scalar == "int" and type(value) is float:
        return int(value)
    return copy.deepcopy(value) if node.scalar == "any" else value


def _quantity(value: Any, path: str, *, milli: bool = False) -> str:
    try:
        return canonical_quantity(str(value), milli=milli)
    except ValueError as problem:
        raise Undeclared(path, f"unable to parse quantity {str(value)[:40]!r}: {problem}") from None
