"""Failures as ArangoDB tells them: a number, a message, an HTTP status. And the one it does not have: Unsupported.

Whatever the double does not know raises Unsupported, which becomes 501 with what it was: a double that guesses would
let code pass that a real server refuses.
"""

from __future__ import annotations

from typing import Any

HTTP_OF = {
    **dict.fromkeys((10, 17, 600, 1204, 1205, 1208, 1218, 1220, 1221, 1222, 1226, 1227, 1229, 1232, 1233, 1235), 400),
    **dict.fromkeys((1501, 1502, 1504, 1510, 1511, 1512, 1540, 1541, 1542, 1543, 1550, 1551, 1552, 1553, 1561), 400),
    **dict.fromkeys((1562, 1563, 1569, 1573, 1575, 1577, 1578, 1579, 1651, 1652, 1653, 1213, 1237), 400),
    **dict.fromkeys((11, 1004, 1230), 403),
    **dict.fromkeys((1202, 1203, 1212, 1228, 1600, 1655, 1703), 404),
    **dict.fromkeys((1200, 1207, 1210, 1601, 1702), 409),
    **dict.fromkeys((1500, 1654), 410),
    **dict.fromkeys((4, 18, 28, 29, 32, 1568, 1574), 500),
    **dict.fromkeys((30, 38, 503, 1495, 1496), 503),
    400: 400,
    401: 401,
    403: 403,
    404: 404,
    405: 405,
}

MESSAGES = {
    11: "forbidden",
    18: "lock timeout",
    1004: "read only",
    1200: "conflict",
    1202: "document not found",
    1204: "parameter 'collection' not found",
    1205: "illegal document identifier",
    1207: "duplicate name",
    1208: "illegal name",
    1210: "unique constraint violated",
    1212: "index not found",
    1221: "illegal document key",
    1227: "invalid document type",
    1228: "database not found",
    1230: "operation only allowed in system database",
    1233: "edge attribute missing or invalid",
    1502: "query is empty",
    1551: "no value specified for declared bind parameter",
    1600: "cursor not found",
    1654: "transaction aborted",
    1655: "transaction not found",
}


class ArangoError(Exception):
    """An error of ArangoDB. `extra` is what some errors add to their body, `headers` to their response."""

    def __init__(
        self,
        number: int,
        message: str | None = None,
        *,
        http: int | None = None,
        extra: dict[str, Any] | None = None,
        etag: str | None = None,
    ) -> None:
        self.number = number
        self.message = MESSAGES.get(number, "error") if message is None else message
        self.http = http or HTTP_OF.get(number, 500)
        self.extra = extra
        self.etag = etag
        super().__init__(f"{self.http}/{number}: {self.message}")

    def body(self) -> dict[str, Any]:
        return {
            "code": self.http,
            "error": True,
            "errorMessage": self.message,
            "errorNum": self.number,
            **(self.extra or {}),
        }

    def inline(self) -> dict[str, Any]:
        """As it stands inside the answer to a bulk request: exactly these three."""
        return {"error": True, "errorNum": self.number, "errorMessage": self.message}


def in_query(error: ArangoError, node: str | None = None) -> ArangoError:
    """The same error as it comes out of a running query."""
    where = f" [{node}]" if node else ""
    return ArangoError(error.number, f"AQL: {error.message}{where} (while executing)", http=error.http)


class Unsupported(Exception):
    """The double does not know this. Its answer is 501."""


class Blocked(Exception):
    """A key is held by another running transaction; `holder` is its id. The request waits for it and is done again."""

    def __init__(self, holder: str, key: str) -> None:
        self.holder = holder
        self.key = key
        super().__init__(f"key {key} is held by transaction {holder}")
