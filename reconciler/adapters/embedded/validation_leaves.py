"""What makes the values in an object invalid, whatever kind it is of: names, labels, counts, ports, selectors.

Pure: a value and its path in, problems out, in the words that API servers use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]

LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
PORT_NAME = re.compile(r"(?=[-a-z0-9]{1,15}\Z)(?=.*[a-z])(?!.*--)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_PERCENT = re.compile(r"[0-9]{1,9}%\Z")
_PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})
_MAX_ANNOTATIONS = 262_144


def metadata(metadata: Body, path: str) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        yield from qualified(key, f"{path}.labels")
        yield from label_value(value, f"{path}.labels")
    size = 0
    for key, value in metadata.get("annotations", {}).items():
        yield from qualified(key, f"{path}.annotations")
        size += len(key) + len(value)
    if size > _MAX_ANNOTATIONS:
        yield f"{path}.annotations: Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
    for owner in metadata.get("ownerReferences", ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield f"{path}.ownerReferences.{key}: Required value"


def qualified(key: str, path: str) -> Iterator[str]:
    prefix, slash, name = key.rpartition("/")
    if not _QUALIFIED.match(name) or (slash and (len(prefix) > 253 or not SUBDOMAIN.match(prefix.lower()))):
        yield f"{path}: Invalid value: {key[:80]!r}: must be a qualified name like 'example.com/name'"


def label_value(value: str, path: str) -> Iterator[str]:
    if value and not _QUALIFIED.match(value):
        yield f"{path}: Invalid value: {value[:80]!r}: a label's value has at most 63 letters, digits, '-', '_' and '.'"


def selector(selector: Body, path: str) -> Iterator[str]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from qualified(key, f"{path}.matchLabels")
        yield from label_value(value, f"{path}.matchLabels")
    for item in selector.get("matchExpressions") or ():
        operator, values = item.get("operator"), item.get("values")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            yield f"{path}.matchExpressions.operator: Invalid value: {operator!r}: not a valid selector operator"
        elif (operator in {"In", "NotIn"}) != bool(values):
            yield f"{path}.matchExpressions.values: must be set for In and NotIn, and only for them"


def count(value: Any, path: str) -> Iterator[str]:
    """A number that is not negative, or a percentage."""
    if isinstance(value, str):
        if not _PERCENT.match(value):
            yield f"{path}: Invalid value: {value[:80]!r}: a valid percent string must be a number followed by '%'"
    else:
        yield from not_negative(value, path)


def at_most_all(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str) and _PERCENT.match(value) and int(value[:-1]) > 100:
        yield f"{path}: Invalid value: {value!r}: must not be greater than 100%"


def not_negative(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, int) and value < 0:
        yield f"{path}: Invalid value: {value}: must be greater than or equal to 0"
    if isinstance(value, int) and value >= 2**31:
        yield f"{path}: Invalid value: {value}: must fit into 32 bits"


def port(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, int):
        yield f"{path}: Required value"
    elif not 1 <= value <= 65_535:
        yield f"{path}: Invalid value: {value}: must be between 1 and 65535, inclusive"


def protocol(value: Any, path: str) -> Iterator[str]:
    if value not in _PROTOCOLS:
        yield f'{path}: Unsupported value: {value!r}: supported values: "SCTP", "TCP", "UDP"'


def dns_label(value: Any, path: str) -> Iterator[str]:
    if not value:
        yield f"{path}: Required value"
    elif not LABEL.match(value):
        yield f"{path}: Invalid value: {value[:80]!r}: must be an RFC 1123 label: at most 63 of a-z, 0-9 and '-'"
