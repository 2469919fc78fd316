"""Canonical JSON of manifests, and their hashes."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from reconciler.model.lazy import LazyJson
from reconciler.model.source import JsonObject


def _plain(value: object) -> object:
    if isinstance(value, LazyJson):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_ENCODER = msgspec.json.Encoder(order="sorted", enc_hook=_plain)


def canonical(body: JsonObject) -> bytes:
    """Compact JSON with sorted keys: equal values, equal bytes."""
    return _ENCODER.encode(body)


def digest(body: JsonObject) -> str:
    """Hex SHA-256 of the canonical bytes."""
    return sha256(_ENCODER.encode(body)).hexdigest()


def kept(body: JsonObject) -> LazyJson:
    """A body as bytes, its keys in the order that they have."""
    return LazyJson(msgspec.json.encode(body))


def pretty(body: JsonObject) -> str:
    """The canonical bytes laid out for people, for files that people open."""
    return msgspec.json.format(_ENCODER.encode(body), indent=2).decode() + "\n"
