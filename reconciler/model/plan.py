"""Plan: ordered waves of changes, each with an action and typed reasons; an inert value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.identity import AgentName, FieldPath, ObjectRef
from reconciler.model.objects import Manifest, Precondition
from reconciler.model.ownership import OwnedPath
from reconciler.model.registry import PlacedReplicas, Reservation
from reconciler.model.source import Diagnostic, JsonObject, Position, Provenance, Revision


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    SCALE = "scale"
    REPLACE = "replace"
    RECOVER = "recover"
    DELETE = "delete"
    ADOPT = "adopt"


class ReasonCode(StrEnum):
    NEW = "new"
    SPEC_CHANGED = "spec-changed"
    TEMPLATE_CHANGED = "template-changed"
    REPLICAS_CHANGED = "replicas-changed"
    PLACEMENT_CHANGED = "placement-changed"
    FAILED_OVER = "failed-over"
    FAILED_BACK = "failed-back"
    FORGOTTEN = "forgotten"
    """A cluster that is no longer declared is gone for good: what was on record there goes from the record."""
    CAUGHT_UP = "caught-up"
    """What an earlier apply left out on a cluster, because that could not be read or was not asked for."""
    IMMUTABLE_FIELD = "immutable-field"
    DRIFT = "drift"
    OBJECT_MISSING = "object-missing"
    OBJECT_SURPLUS = "object-surplus"
    UNFINISHED = "unfinished"
    """An earlier apply stopped in the middle; this finishes it."""
    FOREIGN_OBJECT = "foreign-object"
    REMOVED_FROM_GIT = "removed-from-git"
    DESTROY = "destroy"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    OVERRIDE = "override"
    EXPORTED = "exported"
    """Its Service is offered to other clusters: it runs on several, and this one serves the API for it."""
    RENDERING_CHANGED = "rendering-changed"
    """The same spec renders differently with this version of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a change is planned. `text` is for people; `origin` where the cause was written, if in a file."""

    code: ReasonCode
    text: str
    origin: Provenance | None = None


class Risk(StrEnum):
    PROMPT = "prompt-changed"
    MODEL = "model-changed"
    TOOL_GAINED = "tool-gained"
    TOOL_LOST = "tool-lost"
    APPROVAL_REMOVED = "approval-removed"
    RESOURCES_RAISED = "resources-raised"
    RESOURCES_LOWERED = "resources-lowered"
    SECRET_CHANGED = "secret-reference-changed"  # noqa: S105 - a name, no secret
    IMAGE = "image-changed"
    COMMAND = "command-changed"


class Masked(StrEnum):
    """What stands for a value that is not shown; made where the value is built, so no view can leak it."""

    SENSITIVE = "(sensitive value)"
    UNKNOWN = "(known after apply)"


class Missing(StrEnum):
    """Stands for "there is no such field": before of an added, after of a removed attribute."""

    FIELD = "(absent)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeChange:
    """One field, in YAML names. `before` and `after` are JSON values, Masked or Missing."""

    path: FieldPath
    before: Any
    after: Any
    origin: Provenance | None = None
    forces_replacement: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A field of a live object that is not as we applied it. `manager` wrote it last; "" where nobody owns it."""

    cluster: str
    ref: ObjectRef
    path: str
    manager: str
    before: Any
    """What we want."""
    after: Any
    """What is there."""
    undone: bool = True
    """False: another owner's, reported and left."""


class Verb(StrEnum):
    CREATE = "create"
    APPLY = "apply"
    REPLACE = "replace"
    DELETE = "delete"


class TakeBack(StrEnum):
    """How the replicas of a Deployment are taken back from an autoscaler that goes."""

    AT_LEAST_LIVE = "at-least-live"
    """Never below what runs when it happens, whatever the manifest says."""
    EXACTLY = "exactly"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectChange:
    """One effect on one object. `manifest` is None exactly for delete.

    `force` lists the managers whose hand edits are overridden; empty means no force. `hand_over_replicas` is the
    count to co-own before an autoscaler takes over (kubernetes facts: dropping it as sole owner resets to 1), and
    what a new Deployment starts with; `take_back` is the way back.
    `take` are fields that hand edits own and that are to go: ours first, so that the apply removes them.

    `former` is set where an object of somebody else's is taken over: what it has now where we write something else, to
    be applied when the adoption fails.
    """

    cluster: str
    ref: ObjectRef
    verb: Verb
    expect: Precondition
    manifest: Manifest | None = None
    force: tuple[str, ...] = ()
    take: tuple[OwnedPath, ...] = ()
    hand_over_replicas: int | None = None
    take_back: TakeBack | None = None
    former: JsonObject | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is done to one agent. `agent` is None exactly for delete. `fingerprint` covers the fields that matter.

    `replicas` is (before, after) totals, None where unknown or held by an autoscaler or another manager.
    """

    name: AgentName
    action: Action
    wave: int
    after: tuple[AgentName, ...]
    reasons: tuple[Reason, ...]
    attributes: tuple[AttributeChange, ...]
    hidden: int
    drift: tuple[Drift, ...]
    objects: tuple[ObjectChange, ...]
    risks: tuple[Risk, ...]
    replicas: tuple[int | None, int | None]
    replicas_text: str
    """E.g. `autoscaled 2-10, live 7`; "" where plain."""
    fingerprint: str
    record_version: int
    """Of the record that the plan saw; 0 when there was none."""
    agent: Agent | None = None
    placement: tuple[PlacedReplicas, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    desired: Mapping[str, tuple[Manifest, ...]] = field(default_factory=dict)
    """All manifests of the agent by cluster, changed or not: what a good revision keeps."""
    untouched: tuple[str, ...] = ()
    """Clusters of the agent that this leaves alone, wanted there or not: they cannot be read, or are not asked for."""
    behind: tuple[str, ...] = ()
    """Of those the ones where something is to be done all the same, later."""
    forgotten: tuple[str, ...] = ()
    """Of those the ones that are gone for good: the record forgets what was there."""
    home: str = ""
    """See Record.home."""
    until_ms: int = field(default=0, compare=False)
    """When the change window closes that it goes out in: it does not begin later. 0 for no such end."""


class HoldCode(StrEnum):
    INVALID = "invalid"
    DELETION_BUDGET = "deletion-budget"
    EMPTY_FLEET = "empty-fleet"
    REWIND = "rewind"
    PROTECTED = "protected"
    SUSPENDED = "suspended"
    QUARANTINED = "quarantined"
    UNPLACEABLE = "unplaceable"
    QUOTA = "quota"
    UNREADABLE = "unreadable"
    FOREIGN_OWNER = "foreign-owner"
    OTHER_CLUSTER = "other-cluster"
    FAILOVER = "failover"
    """It is about to leave a cluster that is unwell, or waits to go back. Nothing is left out by mistake."""
    OVERRIDE = "override"
    """Scaled by hand: what runs is not what Git says, for a while. Nothing is left out by mistake."""
    WINDOW = "window"
    """No change window is open that it may go out in; with `ignore_windows` it goes out all the same."""
    DEPENDENCY = "dependency"
    """Something it depends on is held, so it waits."""
    TARGETS = "targets"
    """A target depends on it, or it on a target that goes, and it is no target itself. Nobody is held by that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What the plan leaves out, why, and what lifts it. `agents` sorted; `action` is what would have been done.

    `blocks_exit` holds make `apply` exit 1 (all but suspended, overridden, failing over, targets and windows that are
    ignored).
    `until_ms` is when it ends by itself, 0 where that is not known.
    """

    code: HoldCode
    agents: tuple[AgentName, ...]
    action: Action | None
    text: str
    lift: str
    blocks_exit: bool = True
    origin: Position | None = None
    until_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How complete one observation is. `source` is "git", "registry" or a cluster's name; `problem` "" is complete."""

    source: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlastRadius:
    """A template whose change reaches `changed` of the fleet's `total` agents."""

    template: str
    changed: tuple[AgentName, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator allows. `max_deletes` is a count, a percentage as text, or None for the fleet's."""

    max_deletes: int | str | None = None
    allow_empty: bool = False
    accept_rewind: bool = False
    targets: tuple[AgentName, ...] = ()
    """Only these agents (a partial plan); empty means all."""
    clusters: tuple[str, ...] = ()
    """Only these clusters (a partial plan); empty means all."""
    accept_clusters: tuple[str, ...] = ()
    """Clusters that may be other ones than at first contact: rebuilt, and to be known by what they are now."""
    forget_clusters: tuple[str, ...] = ()
    """Clusters that are no longer declared and gone for good: nothing on record there is waited for any more."""
    destroy: bool = False
    ignore_windows: bool = False
    """Changes go out whatever change windows say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole plan. `changes` are in order of execution: by wave, dependencies, then name; deletes in reverse after."""

    fleet: str
    revision: Revision
    completeness: tuple[Completeness, ...]
    changes: tuple[Change, ...]
    holds: tuple[Hold, ...]
    blast_radius: tuple[BlastRadius, ...]
    diagnostics: tuple[Diagnostic, ...]
    drift: tuple[Drift, ...] = ()
    """Foreign changes that are reported and left alone; those that are undone stand in their change."""
    partial: bool = False
    agents: int = 0
    """How many agents the fleet declares."""
    idle: tuple[str, ...] = ()
    """Clusters that start no processes (`run: nothing`): what is applied there is kept, and never runs."""
    policy: Policy = field(default_factory=Policy)
    on_record: str = field(default="", compare=False)
    """The fleet's commit on record when the plan was made; not part of a plan file."""

    def count(self, *actions: Action) -> int:
        """How many changes have one of `actions`."""
        return sum(change.action in actions for change in self.changes)
