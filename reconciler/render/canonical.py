"""Canonical JSON of manifests, and their hashes."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from reconciler.model.source import JsonObject

_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(body: JsonObject) -> bytes:
    """Compact JSON with sorted keys: equal values, equal bytes."""
    return _ENCODER.encode(body)


def digest(body: JsonObject) -> str:
    """Hex SHA-256 of the canonical bytes."""
    return sha256(_ENCODER.encode(body)).hexdigest()


def pretty(body: JsonObject) -> str:
    """The canonical bytes laid out for people, for files that people open."""
    return msgspec.json.format(_ENCODER.encode(body), indent=2).decode() + "\n"
