"""What a failure of the server or of the way to it means: a table of error numbers, and one translation.

No statements live here. The numbers are ArangoDB's own (errorNum), which the driver hands on.
"""

from __future__ import annotations

from enum import StrEnum

from arango.exceptions import ArangoClientError, ArangoError, ArangoServerError, JWTExpiredError
from jwt.exceptions import InvalidTokenError

from reconciler.adapters.arango.transport import NoAnswer, NotSent, TransportFault
from reconciler.model.errors import RegistryError


class Kind(StrEnum):
    """What a failure lets one do next."""

    AWAY = "away"
    """This coordinator cannot be reached, or does not serve now: another one may."""
    UNANSWERED = "unanswered"
    """It may have been done. A read may be repeated; a write must be looked for first."""
    BUSY = "busy"
    """Nothing was done, because of others who write: the same again may work."""
    DENIED = "denied"
    """We may not."""
    REFUSED = "refused"
    """Trying again cannot help."""


Failure = ArangoError | TransportFault | InvalidTokenError | ConnectionAbortedError
FAILURES = (ArangoError, TransportFault, InvalidTokenError, ConnectionAbortedError)
"""All that a call of the driver raises with our transport below it. It says ConnectionAbortedError for a 503."""

FORBIDDEN = 11
LOCK_TIMEOUT = 18
READ_ONLY = 1004
CONFLICT = 1200
NO_DOCUMENT = 1202
NO_COLLECTION = 1203
DUPLICATE_NAME = 1207
NOT_UNIQUE = 1210
NO_DATABASE = 1228
TRANSACTION_ABORTED = 1654
NO_TRANSACTION = 1655

_BUSY = {LOCK_TIMEOUT, 28, 29, CONFLICT, NOT_UNIQUE, TRANSACTION_ABORTED, NO_TRANSACTION, 1521}
_AWAY = {30, 38, 503, 1429, 1449, 1457, 1464, 1465, 1478, 1491, 1492, 1495, 1496}
_DENIED = {FORBIDDEN, 401, 403}
_HINTS = {
    FORBIDDEN: "look at the user name and the password, and that the user has read-write access to this database",
    401: "look at the user name and the password in the environment variables that fleet.yaml names",
    LOCK_TIMEOUT: "another writer holds the registry; if it is gone, the server lets go of its lock within a minute",
    30: "the server is shutting down: try again when it is back",
    32: "the query needs more memory than the server allows (--query.memory-limit)",
    38: "the server is starting: try again in a moment",
    READ_ONLY: "this user may only read there (give it read-write access), or the whole server is read-only",
    NO_COLLECTION: "a collection of the registry is missing: `reconciler doctor` says which, and what to do",
    NO_DATABASE: "let an administrator make it (db._createDatabase, with {sharding: 'single'} in a cluster) and give "
    "this user read-write access to it; or look at `database` in fleet.yaml",
    1429: "too few database servers are up to store it safely (writeConcern)",
}


def kind_of(error: Failure) -> Kind:
    """How a failure may be met."""
    match error:
        case NotSent() | ConnectionAbortedError():
            return Kind.AWAY
        case NoAnswer():
            return Kind.UNANSWERED
        case ArangoServerError():
            return _kind_of_answer(error)
        case _:
            return Kind.DENIED if isinstance(error, JWTExpiredError | InvalidTokenError) else Kind.REFUSED


def _kind_of_answer(error: ArangoServerError) -> Kind:
    if error.error_code in _BUSY:
        return Kind.BUSY
    if error.error_code in _AWAY or error.http_code in (429, 502, 503, 504):
        return Kind.AWAY
    if error.error_code in _DENIED or error.http_code in (401, 403):
        return Kind.DENIED
    return Kind.REFUSED


def code_of(error: BaseException) -> int:
    """The server's number of an error; 0 for what it did not answer."""
    return (error.error_code or 0) if isinstance(error, ArangoServerError) else 0


class Denied(RegistryError):
    """We may not read or write there: that says nothing of what is kept."""


class Refused(RegistryError):
    """The server took none of it, and would not if it were asked again."""


class NoDatabase(RegistryError):
    """The server is there, and the database is not."""


def translate(error: Failure, place: str, doing: str) -> RegistryError:
    """What a failure means to people; nothing was written."""
    made = {Kind.DENIED: Denied, Kind.REFUSED: Refused}.get(kind_of(error), RegistryError)
    if code_of(error) == NO_DATABASE:
        made = NoDatabase
    return made(f"{place}: cannot {doing}: {_text(error)}", hint=_hint(error))


def _text(error: Failure) -> str:
    match error:
        case TransportFault():
            return error.reason
        case ConnectionAbortedError():
            return "the server does not serve now (503)"
        case InvalidTokenError():
            return f"its token is not accepted here: {error}"
        case ArangoServerError():
            return f"{error.error_message or error.message} (error {error.error_code})"
        case ArangoClientError():
            return str(error.message)
        case _:
            return str(error) or type(error).__name__


def _hint(error: Failure) -> str:
    if isinstance(error, TransportFault):
        return "see that the server runs and can be reached from here; `reconciler doctor` looks closer"
    if isinstance(error, InvalidTokenError | JWTExpiredError):
        return "the clocks of this machine and of the server differ: set them"
    return _HINTS.get(code_of(error), "")
