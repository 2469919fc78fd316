"""A plain way to ask an API server: one request a connection, JSON in and out. It is for the harness's own needs;
tests look at the server through what they test, or with kubectl.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.controlplane.pki import Identity

TIMEOUT_S = 10
JSON = "application/json"


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """An API server, asked as one identity."""

    def __init__(self, url: str, authority: Path, identity: Identity) -> None:
        self._host = urlsplit(url).netloc
        self._context = ssl.create_default_context(cafile=str(authority))
        self._context.load_cert_chain(identity.certificate, identity.key)

    def ask(
        self, verb: str, path: str, body: object = None, *, timeout_s: float = TIMEOUT_S, content_type: str = JSON
    ) -> bytes:
        """Send one request; raise `Refused` for an error, `OSError` when nobody answers."""
        connection = http.client.HTTPSConnection(self._host, timeout=timeout_s, context=self._context)
        content = None if body is None else json.dumps(body)
        try:
            connection.request(verb, path, content, {"Content-Type": content_type, "Accept": JSON})
            response = connection.getresponse()
            data = response.read()
        except http.client.HTTPException as error:
            raise OSError(f"{verb} {path}: {error!r}") from error
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise Refused(response.status, _message(data))
        return data

    def json(self, verb: str, path: str, body: object = None) -> Any:
        """Send one request and return the object in its answer."""
        return json.loads(self.ask(verb, path, body))

    @contextmanager
    def lines(self, path: str, *, timeout_s: float = TIMEOUT_S) -> Iterator[Iterator[bytes]]:
        """Follow an answer line by line, as of a watch; the server is listening when the block begins."""
        connection = http.client.HTTPSConnection(self._host, timeout=timeout_s, context=self._context)
        try:
            connection.request("GET", path, headers={"Accept": JSON})
            response = connection.getresponse()
            if response.status >= http.client.BAD_REQUEST:
                raise Refused(response.status, _message(response.read()))
            yield iter(response)
        finally:
            connection.close()


def _message(data: bytes) -> str:
    """Return what an error says: a Status, or plain text."""
    try:
        return str(json.loads(data)["message"])
    except (ValueError, LookupError, TypeError):
        return data.decode(errors="replace")
