"""HTTP to one coordinator: every request is sent once, and a failure says whether it can have arrived.

The driver would send again by itself, commits included, and would forget what went wrong. No statements live here.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from arango.http import HTTPClient
from arango.response import Response
from requests import Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as Disconnected
from requests.exceptions import ConnectTimeout, RequestException, SSLError
from urllib3.exceptions import MaxRetryError, NewConnectionError


class TransportFault(Exception):
    """A request that was not answered. Not one of the driver's: it would try again."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.reason = reason


class NotSent(TransportFault):
    """No connection came about: the server cannot have seen the request."""


class NoAnswer(TransportFault):
    """The connection broke or time ran out: the server may have done what was asked."""


class OnceClient(HTTPClient):
    """Sends each request once, follows no redirects, and asks the environment for nothing.

    Credentials in a ~/.netrc would replace the token, and proxies would be asked for on every request.
    """

    def __init__(self, *, connect_s: float, read_s: float, connections: int) -> None:
        self.request_timeout = (connect_s, read_s)
        self._connections = connections

    def create_session(self, host: str) -> Session:  # noqa: ARG002 - the signature is the driver's
        session = Session()
        session.trust_env = False
        adapter = HTTPAdapter(max_retries=0, pool_connections=1, pool_maxsize=self._connections)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def send_request(
        self,
        session: Session,
        method: str,
        url: str,
        headers: Any = None,
        params: MutableMapping[str, str] | None = None,
        data: Any = None,
        auth: tuple[str, str] | None = None,
    ) -> Response:
        """Send it. Raises NotSent or NoAnswer."""
        try:
            answer = session.request(
                method,
                url,
                params=params,
                data=data.encode() if isinstance(data, str) else data,
                headers=headers,
                auth=auth,
                timeout=self.request_timeout,
                allow_redirects=False,
            )
        except RequestException as error:
            base = url.partition("/_")[0]
            raise (NotSent if _never_sent(error) else NoAnswer)(base, _reason(error)) from error
        if answer.ok and "json" not in answer.headers.get("content-type", ""):
            raise NoAnswer(url.partition("/_")[0], "what answers there is no ArangoDB")
        return Response(
            method=method,
            url=answer.url,
            headers=answer.headers,
            status_code=answer.status_code,
            status_text=answer.reason,
            raw_body=answer.content.decode(errors="replace"),
        )


def _never_sent(error: RequestException) -> bool:
    if isinstance(error, ConnectTimeout | SSLError):
        return True
    cause = error.args[0] if isinstance(error, Disconnected) and error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _reason(error: RequestException) -> str:
    """What happened, without the layers of libraries around it."""
    cause: BaseException = error
    if isinstance(error, Disconnected) and error.args and isinstance(error.args[0], MaxRetryError):
        cause = error.args[0].reason or error
    text = str(cause)
    return text.rpartition(">: ")[2] or type(error).__name__ if ">: " in text else text or type(error).__name__
