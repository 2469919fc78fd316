"""Objects as they lie in the store, decoded as far as they are looked into.

A plan of a large fleet asks nearly every object only for its metadata; the rest stays bytes, a tenth of the size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_whole = msgspec.json.Decoder().decode


class Head(msgspec.Struct):
    """What every object has."""

    apiVersion: str  # noqa: N815 - the name in the object
    kind: str
    metadata: dict[str, Any]


head_of = msgspec.json.Decoder(Head).decode


class LazyBody(Mapping[str, Any]):
    """An object's JSON. Metadata is there, with its sets of fields; all else is decoded when first asked for."""

    __slots__ = ("_data", "_head", "_value")

    def __init__(self, data: bytes, head: Head) -> None:
        self._data = data
        self._head = head
        self._value: dict[str, Any] | None = None

    def _read(self) -> dict[str, Any]:
        if self._value is None:
            value: dict[str, Any] = _whole(self._data)
            value["metadata"] = self._head.metadata
            self._value = value
        return self._value

    def __getitem__(self, key: str) -> Any:
        if key == "metadata":
            return self._head.metadata
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"LazyBody({self._head.kind} {self._head.metadata.get('name')})"
