"""Kubernetes objects as bytes, decoded as far as they are looked into.

A plan of a large fleet asks nearly every object only who owns its fields and whose it is; the rest stays bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.model.lazy import LazyJson

Json = dict[str, Any]


class HeadMetadata(msgspec.Struct, omit_defaults=True):
    """What is asked of every object."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    uid: str | msgspec.UnsetType = msgspec.UNSET
    resourceVersion: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the name in the object
    annotations: Json | msgspec.UnsetType = msgspec.UNSET
    ownerReferences: list[Json] | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the name in the object
    managedFields: list[Json] = []  # noqa: N815 - the name in the object; msgspec copies defaults


class Head(msgspec.Struct):
    """The part of an object that is decoded at once."""

    metadata: HeadMetadata


head_of = msgspec.json.Decoder(Head).decode
_HEAD = frozenset(HeadMetadata.__struct_fields__)


class LazyMetadata(LazyJson):
    """An object's metadata. `data` is the whole object; who owns fields, and the marks of owners, are there at once."""

    __slots__ = ("_head",)

    def __init__(self, data: bytes, head: HeadMetadata) -> None:
        super().__init__(data)
        self._head = head

    def decode(self) -> Json:
        """All of it, with the sets of fields that the head has."""
        metadata: Json = super().decode()["metadata"]
        if "managedFields" in metadata:
            metadata["managedFields"] = self._head.managedFields
        return metadata

    def __getitem__(self, key: str) -> Any:
        if key in _HEAD and self._value is None:
            found = getattr(self._head, key)
            if found is not msgspec.UNSET and found != []:
                return found
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As for any mapping; what the head lacks is not there, and needs no decoding to know."""
        if key in _HEAD and self._value is None:
            found = getattr(self._head, key)
            return default if found is msgspec.UNSET or found == [] else found
        return super().get(key, default)


class LazyBody(LazyJson):
    """An object's JSON. `type_meta` is its apiVersion and kind where the bytes lack them, as items of lists do."""

    __slots__ = ("_metadata", "_type_meta")

    def __init__(self, data: bytes, head: Head, type_meta: Mapping[str, str] | None = None) -> None:
        super().__init__(data)
        self._metadata = LazyMetadata(data, head.metadata)
        self._type_meta = type_meta

    def decode(self) -> Json:
        """All of it, with the sets of fields that the head has."""
        return {**(self._type_meta or {}), **super().decode(), "metadata": dict(self._metadata)}

    def __getitem__(self, key: str) -> Any:
        if key == "metadata":
            return self._metadata
        if self._type_meta is not None and key in self._type_meta:
            return self._type_meta[key]
        return super().__getitem__(key)
