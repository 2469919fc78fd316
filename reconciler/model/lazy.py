"""JSON that stays bytes until somebody looks inside: a tenth of the size for the many values that nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class LazyJson(Mapping[str, Any]):
    """A JSON mapping that is decoded when first looked into; equal to any mapping of equal items. Not to be changed."""

    __slots__ = ("_value", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._value: Mapping[str, Any] | None = None

    def decode(self) -> Mapping[str, Any]:
        """The value of `data`; called once. Raises what msgspec raises for bytes that are no JSON mapping."""
        return msgspec.json.decode(self.data, type=dict[str, Any])

    def _read(self) -> Mapping[str, Any]:
        if self._value is None:
            self._value = self.decode()
        return self._value

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.data)} bytes)"
