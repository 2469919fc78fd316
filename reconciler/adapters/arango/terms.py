"""Values as text that any server orders and compares as a query wants: one letter for the type, then bytes.

The server orders text by the rules of a language. A byte is therefore written as two characters, out of two alphabets
without a letter in common: every rule orders them alike, and a search for written bytes never finds half of one.
Missing < false < true < numbers < text is then the order of null and text.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from reconciler.model.query import ORDER_CHARACTERS, Value
from reconciler.model.registry import AgentState, Record
from reconciler.query.facts import facts_of
from reconciler.query.patterns import Wild, like_parts

_HIGH, _LOW = "abcdefghijklmnop", "0123456789qrstuv"
_BYTES = tuple(high + low for high in _HIGH for low in _LOW)
_OF_BYTES = {text: value for value, text in enumerate(_BYTES)}
FLAG, NUMBER, TEXT = "b", "n", "s"
BEHIND = {FLAG: "c", NUMBER: "o", TEXT: "t"}
"""What comes behind all values of a type."""
_SIGN = 1 << 63
_MASK = (1 << 64) - 1
_LONGEST = 200
_CHARACTER = "(?:[a-h].|[mn]...|o.....|p.......)"
"""One character in its UTF-8 bytes: the first of them says how many there are."""


def spelled(data: bytes) -> str:
    """Bytes, written so that they are ordered as bytes are."""
    return "".join([_BYTES[byte] for byte in data])


def term(value: Value) -> str:
    """A value, written so that it is ordered among others of its type as it should be."""
    match value:
        case bool():
            return f"{FLAG}{int(value)}"
        case str():
            return TEXT + spelled(value.encode())
        case _:
            (bits,) = struct.unpack(">Q", struct.pack(">d", value))
            bits = bits ^ _MASK if bits & _SIGN else bits ^ _SIGN
            return NUMBER + spelled(bits.to_bytes(8, "big"))


def value_of(text: str) -> Value:
    """The value of a term. Raises KeyError or ValueError for text that is none."""
    kind, rest = text[:1], text[1:]
    if kind == FLAG:
        return rest == "1"
    data = bytes(_OF_BYTES[rest[at : at + 2]] for at in range(0, len(rest), 2))
    if kind == TEXT:
        return data.decode()
    bits = int.from_bytes(data, "big")
    bits = bits ^ _SIGN if bits & _SIGN else bits ^ _MASK
    (number,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    return float(number)


def kind_of(text: str) -> str:
    """The letter of a term's type."""
    return text[:1]


def pair(path: str, value: Value) -> str:
    """A path with a value: what the index for equality holds. Long values are hashed: an index wants short keys."""
    text = term(value)
    if len(text) > _LONGEST:
        text = "#" + hashlib.sha256(text.encode()).hexdigest()
    return f"{path}={text}"


def order_term(value: Value | None) -> str | None:
    """What a record is ordered by; text by so many of its first characters."""
    if isinstance(value, str):
        value = value[:ORDER_CHARACTERS]
    return None if value is None else term(value)


def like_regex(pattern: str) -> str:
    """The regular expression that terms of text meet which are like a pattern.

    It takes each piece at its first place and never looks back: else a pattern could keep the server busy for hours.
    """
    pieces = [""]
    for part in like_parts(pattern):
        if part is Wild.ANY_TEXT:
            pieces.append("")
        else:
            pieces[-1] += _CHARACTER if part is Wild.ONE_CHARACTER else spelled(part.encode())
    first, *rest = pieces
    if not rest:
        return f"^{TEXT}{first}$"
    *middle, last = rest
    return f"^{TEXT}{first}{''.join(f'(?>.*?{piece})' for piece in middle if piece)}.*{last}$"


def name_terms(namespace: str, name: str) -> tuple[str, str]:
    """A name, as two terms."""
    return term(namespace), term(name)


def searchable(record: Record) -> dict[str, Any]:
    """What a record is found and ordered by. One that is gone is not found."""
    ns_key, name_key = name_terms(record.name.namespace, record.name.name)
    found: dict[str, Any] = {"ns_key": ns_key, "name_key": name_key}
    if record.state is AgentState.GONE:
        return found | {"facts": {}, "order": {}, "pairs": [], "paths": [], "words": []}
    facts = facts_of(record)
    return found | {
        "facts": {path: [term(value) for value in values] for path, values in facts.values.items()},
        "order": {path: order_term(values[0]) for path, values in facts.values.items()},
        "pairs": [pair(path, value) for path, values in facts.values.items() for value in values],
        "paths": sorted({path[:end] for path in facts.values for end in _ends(path)}),
        "words": sorted(facts.words),
    }


def _ends(path: str) -> list[int]:
    """Where a path, and each that it lies below, ends."""
    return [at for at, character in enumerate(path) if character == "."] + [len(path)]
