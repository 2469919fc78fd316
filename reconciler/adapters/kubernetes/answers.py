"""What a server's answers mean: HTTP statuses and Status objects as errors of model.errors. No I/O.

Only a Status is an API server's own word. What a proxy in between says in other words is never a verdict: nothing is
absent, refused or forbidden by it.
Source: Kubernetes API conventions, "HTTP Status codes" and "Response Status Kind"; conflicts of server-side apply are a
409 whose details list causes of type FieldManagerConflict, one a field.
"""

from __future__ import annotations

import re

import msgspec

from reconciler.model.errors import (
    ClusterUnavailable,
    FieldConflict,
    NotAllowed,
    OutcomeUnknown,
    PreconditionFailed,
    ReconcilerError,
    Rejected,
)
from reconciler.model.identity import ObjectRef

MAX_TEXT = 600
"""Of a server's message more is not told: some repeat whole objects."""
NOT_UNDERSTOOD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not what was asked for."""


class NoAccess(ClusterUnavailable):
    """We cannot say who we are, or the server does not believe it (401)."""


class Busy(ClusterUnavailable):
    """It is there, and asks us to wait (429)."""


class Elsewhere(ClusterUnavailable):
    """No API server answered, or it knows no such path: nothing is known of the object."""

    code = 0


class Gone(ClusterUnavailable):
    """The version to go on from is no longer kept (410): list anew."""


class NotThere(Rejected):
    """There is no such object (404)."""


class NoNamespace(NotThere):
    """There is not even its namespace: for a write, something that people have to make first."""


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct):
    name: str = ""
    kind: str = ""
    causes: list[_Cause] = []
    retryAfterSeconds: int = 0  # noqa: N815 - the name on the wire


class Status(msgspec.Struct):
    """The Status object of an answer that is no success."""

    kind: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    code: int = 0
    details: _Details = msgspec.field(default_factory=_Details)


_status_of = msgspec.json.Decoder(Status).decode
_VERDICTS = frozenset({*range(300, 500)} - {401, 408, 429})
"""Codes that say something of the request, where an API server says them."""
_DENIED = re.compile(r'User "[^"]*" cannot ')
"""How a 403 of the authorizer goes on; those of admission are about the object."""
_MANAGER = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')
_UNDERSTOOD_NOT = ("failed to create typed", "failed to convert new object")
"""What apply says with a 500 of a body that it cannot read: unknown fields, wrong types. Nothing was stored."""
WRITES = frozenset({"PATCH", "POST", "PUT", "DELETE"})


def status_of(body: bytes) -> Status:
    """The Status in a body; a Status without a reason for bodies of another make, as proxies send them."""
    try:
        return _status_of(body)
    except NOT_UNDERSTOOD:
        return Status(message=" ".join(body[:MAX_TEXT].decode("utf-8", "replace").split()))


def error_of(code: int, body: bytes, *, method: str, cluster: str, ref: ObjectRef | None, what: str) -> ReconcilerError:
    """The error that an answer stands for. `what` names the request for people, as `get ConfigMap team/a`."""
    status = status_of(body)
    text = f"{what} on {cluster}: {_clip(status.message) or f'HTTP {code}'}"
    found: ReconcilerError
    match code:
        case _ if code in _VERDICTS and not _is_status(status, code):
            found = _elsewhere(code, text, ref=ref, cluster=cluster)
        case 401:
            hint = "log in again, or look at the credentials in the kubeconfig"
            found = NoAccess(f"{cluster} does not accept our credentials", ref=ref, cluster=cluster, hint=hint)
        case 403:
            found = _forbidden(status, text, ref=ref, cluster=cluster)
        case 404:
            found = _not_there(status, text, ref=ref, cluster=cluster)
        case 409:
            found = _conflict(status, text, ref=ref, cluster=cluster)
        case 422 if any(cause.field == "metadata.uid" for cause in status.details.causes):
            # The object of that name is another one than we named: apply calls that a change of its uid.
            found = PreconditionFailed(text, ref=ref, cluster=cluster)
        case 410:
            found = Gone(text, ref=ref, cluster=cluster)
        case 429:
            found = Busy(f"{cluster} asks us to wait: {text}", ref=ref, cluster=cluster)
        case _ if code >= 500 or code == 408:
            found = _unavailable(method, status, text, code=code, ref=ref, cluster=cluster)
        case _:
            found = Rejected(text, ref=ref, cluster=cluster)
    return found


def _is_status(status: Status, code: int) -> bool:
    """Whether it is an API server's. Of a 404 it says what is not there, unless it knows no such path."""
    return status.kind == "Status" and (code != 404 or bool(status.details.name))


def _elsewhere(code: int, text: str, *, ref: ObjectRef | None, cluster: str) -> Elsewhere:
    error = Elsewhere(
        f"{text} (HTTP {code}): that is no API server's answer",
        ref=ref,
        cluster=cluster,
        hint="see that the address in the kubeconfig is an API server's, and what proxy stands before it",
    )
    error.code = code
    return error


def _unavailable(
    method: str, status: Status, text: str, *, code: int, ref: ObjectRef | None, cluster: str
) -> ReconcilerError:
    if status.message.startswith(_UNDERSTOOD_NOT):
        return Rejected(text, ref=ref, cluster=cluster)
    if method in WRITES:
        return OutcomeUnknown(f"{text} (HTTP {code}): it may or may not have been done")
    return ClusterUnavailable(f"{text} (HTTP {code})", ref=ref, cluster=cluster)


def _forbidden(status: Status, text: str, *, ref: ObjectRef | None, cluster: str) -> ReconcilerError:
    if "exceeded quota" in status.message:
        return Rejected(text, ref=ref, cluster=cluster, hint="ask for a larger quota, or declare less")
    if "is being terminated" in status.message:
        return ClusterUnavailable(text, ref=ref, cluster=cluster, hint="the namespace is being deleted")
    if _DENIED.search(status.message):
        hint = "grant it in RBAC: docs/kubernetes.md lists what is needed"
        return NotAllowed(text, ref=ref, cluster=cluster, hint=hint)
    return Rejected(text, ref=ref, cluster=cluster)


def _not_there(status: Status, text: str, *, ref: ObjectRef | None, cluster: str) -> ReconcilerError:
    if status.details.kind == "namespaces" and ref is not None and ref.kind != "Namespace":
        text = f"there is no namespace {status.details.name} on {cluster}, so {ref} cannot be there"
        return NoNamespace(text, ref=ref, cluster=cluster, hint=f"kubectl create namespace {status.details.name}")
    return NotThere(text, ref=ref, cluster=cluster)


def _conflict(status: Status, text: str, *, ref: ObjectRef | None, cluster: str) -> ReconcilerError:
    owners = {}
    for cause in status.details.causes:
        if cause.reason == "FieldManagerConflict":
            found = _MANAGER.search(cause.message)
            owners[cause.field] = found.group(1) if found else cause.message
    if owners:
        return FieldConflict(text, owners=owners, ref=ref, cluster=cluster)
    return PreconditionFailed(text, ref=ref, cluster=cluster)


def retry_after(header: str | None, body: bytes) -> float:
    """Seconds that a server asks us to wait, by its header or its Status; 1 where it does not say."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    return float(status_of(body).details.retryAfterSeconds or 1)


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
