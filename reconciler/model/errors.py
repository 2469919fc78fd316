"""Failures that cross a port, already translated and classified. Each names its object and says what to do."""

from __future__ import annotations

from reconciler.model.identity import ObjectRef


class ReconcilerError(Exception):
    """A failure with a message for people: what happened, where, what to do. Never a bug report."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ReconcilerError):
    """What the caller asked for cannot be meant."""


class SourceError(ReconcilerError):
    """Git or the working tree cannot be read, or a ref does not exist."""


class NothingCommitted(SourceError):
    """There is no Git repository, no commit, or no folder of the fleet in it."""


class RegistryError(ReconcilerError):
    """The registry refused or cannot be reached; nothing was written."""


class RegistryConflict(RegistryError):
    """A record, lease or reservation changed since it was read; nothing was written: read again and decide again."""


class OutcomeUnknown(ReconcilerError):
    """The effect may or may not have happened (time-out, lost reply): observe before any retry."""


class ClusterError(ReconcilerError):
    """Base of what a cluster answers."""

    def __init__(self, message: str, *, ref: ObjectRef | None = None, cluster: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.ref = ref
        self.cluster = cluster


class ClusterUnavailable(ClusterError):
    """Transient, and the effect did not happen (connection refused, 429): try again later."""


class PreconditionFailed(ClusterError):
    """The object is not as expected (absent, other uid, newer resourceVersion): observe and plan again."""


class FieldConflict(ClusterError):
    """Server-side apply met other owners. `owners` maps a field path (as managedFields writes it) to the manager."""

    def __init__(
        self, message: str, *, owners: dict[str, str], ref: ObjectRef | None = None, cluster: str = ""
    ) -> None:
        super().__init__(message, ref=ref, cluster=cluster)
        self.owners = owners


class NotAllowed(ClusterError):
    """We may not do that there, and nothing was done. It says nothing against the object: somebody has to let us."""


class Rejected(ClusterError):
    """Terminal: invalid, immutable, or against a policy. Trying again without a change cannot help."""
