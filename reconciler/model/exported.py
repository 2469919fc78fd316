"""An exported registry as a file: one JSON value a line, `{"kind": ..., "value": ...}`. Pure: bytes in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.model.errors import RegistryError
from reconciler.model.transfer import KINDS, Kept

MAX_LINE = 256 * 1024 * 1024
"""Bytes of one line: a record with its document and the manifests of its last good revision."""


class _Line(msgspec.Struct):
    kind: str
    value: msgspec.Raw


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)  # documents that are decoded when somebody looks inside
    raise TypeError(f"{type(value).__name__} is no JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_line = msgspec.json.Decoder(_Line)
_decoders: Mapping[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(made) for made, kind in KINDS.items()}


def to_line(item: Kept) -> bytes:
    """One value, its line end included."""
    return _encoder.encode({"kind": KINDS[type(item)], "value": item}) + b"\n"


def from_line(line: bytes, number: int) -> Kept:
    """The value of a line. Raises RegistryError, naming its number."""
    try:
        read = _line.decode(line)
        decoder = _decoders[read.kind]
        item: Kept = decoder.decode(read.value)
    except KeyError as error:
        raise RegistryError(f"line {number}: nothing is known of {error}", hint=_HINT) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"line {number} is no line of an exported registry: {error}", hint=_HINT) from error
    return item


_HINT = "a file that `reconciler registry export` wrote is wanted, as it was written"
