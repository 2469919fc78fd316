"""Sets of fields that many objects share, stored once: objects of one shape have the same fieldsV1.

On disk an entry of managedFields has a number where its set would be; in memory all objects of that shape share one
dict, which nobody changes. Sets that name a uid, and so belong to one object only, stay with their object.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from reconciler.model.lazyobject import Head, head_of

Body = dict[str, Any]
MAX_SETS = 20_000
"""Shapes that are shared; further ones stay with their objects."""
_OF_ONE_OBJECT = b'k:{\\"uid\\"'

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Fieldsets:
    """The numbers of sets, as far as this process has met them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sets: dict[int, Body] = {}
        self._numbers: dict[bytes, int] = {}
        self._new: list[tuple[bytes, int]] = []

    def encode(self, body: Body) -> bytes:
        """The bytes to store for an object, inside a write transaction."""
        metadata = body["metadata"]
        entries = metadata.get("managedFields")
        if not entries:
            return _encode(body)
        compact = [{**entry, "fieldsV1": self._number(entry["fieldsV1"])} for entry in entries]
        return _encode({**body, "metadata": {**metadata, "managedFields": compact}})

    def decode(self, data: bytes) -> Body:
        """The object of stored bytes. Raises sqlite3.Error, or KeyError for a set that is not there."""
        body: Body = _decode(data)
        self._complete(body["metadata"].get("managedFields", ()))
        return body

    def decode_head(self, data: bytes) -> Head:
        """The head of stored bytes alone; errors as `decode`."""
        head = head_of(data)
        self._complete(head.metadata.managedFields)
        return head

    def _complete(self, entries: Iterable[Body]) -> None:
        """Put the sets where their numbers are."""
        for entry in entries:
            number = entry["fieldsV1"]
            if type(number) is int:
                entry["fieldsV1"] = self._sets.get(number) or self._read(number)

    def committed(self) -> None:
        self._new.clear()

    def rolled_back(self) -> None:
        """Forget the numbers that were given in a transaction that came to nothing."""
        for data, number in self._new:
            self._numbers.pop(data, None)
            self._sets.pop(number, None)
        self._new.clear()

    def _number(self, fields: Body) -> int | Body:
        data = _encode(fields)
        known = self._numbers.get(data)
        if known is not None:
            return known
        if _OF_ONE_OBJECT in data:
            return fields
        execute = self._connection.execute
        found = execute("SELECT id FROM fieldsets WHERE fields = ?", (data,)).fetchone()
        if found is None:
            if (execute("SELECT max(id) FROM fieldsets").fetchone()[0] or 0) >= MAX_SETS:
                return fields
            number = execute("INSERT INTO fieldsets (fields) VALUES (?)", (data,)).lastrowid
            assert number is not None  # noqa: S101 - an insert has a row
            self._new.append((data, number))
        else:
            number = int(found[0])
        self._numbers[data] = number
        return number

    def _read(self, number: int) -> Body:
        (data,) = self._connection.execute("SELECT fields FROM fieldsets WHERE id = ?", (number,)).fetchone()
        fields: Body = _decode(data)
        self._sets[number] = fields
        return fields
