"""Types of what reading routes take and answer, of which checks and the OpenAPI document are made. No behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta, Struct

from reconciler.daemon.http.routes import LABEL
from reconciler.shapes.health import AssessmentShape
from reconciler.shapes.plan import PlanShape
from reconciler.shapes.records import AuditShape, RecordShape, RevisionShape

MAX_LIMIT = 500
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many.")]
Continue = Annotated[str, Meta(max_length=4096, description="What follows a page: its `continue`.")]


class AskAgents(Struct, forbid_unknown_fields=True, rename={"order_by": "orderBy", "after": "continue"}):
    where: Annotated[str, Meta(max_length=4096, description="As `get agents --where` takes it.")] = ""
    selector: Annotated[str, Meta(max_length=4096, description="Labels, as `-l` takes them.")] = ""
    namespace: Annotated[str, Meta(pattern=f"^({LABEL})?$", description="Only this namespace.")] = ""
    order_by: Annotated[str, Meta(max_length=1024, description="Like `updated desc, name`.")] = ""
    limit: Limit = 100
    after: Continue = ""


class AskPage(Struct, forbid_unknown_fields=True, rename={"after": "continue"}):
    limit: Limit = 100
    after: Continue = ""


class AskHealth(Struct, forbid_unknown_fields=True, rename={"after": "continue"}):
    state: Annotated[str, Meta(pattern="^(healthy|degraded|unhealthy|unknown)?$", description="Only these.")] = ""
    limit: Limit = 100
    after: Continue = ""


class AskAudit(Struct, forbid_unknown_fields=True):
    since: Annotated[int, Meta(ge=0, le=2**53, description="Entries after this `seq`.")] = 0
    agent: Annotated[str, Meta(max_length=320, description="Only of this agent: namespace/name.")] = ""
    limit: Limit = 100


class Nothing(Struct, forbid_unknown_fields=True):
    """No parameters."""


More = TypedDict("More", {"continue": str})
"""What asks for the next page, "" at the end."""


class ClusterShape(TypedDict):
    """A cluster that the fleet declares, and since when it is so, by what looks wrote down."""

    name: str
    state: str
    since: str
    reason: str


class AgentCountsShape(TypedDict):
    """How many agents there are; `declared` null while this daemon has made no plan."""

    declared: int | None
    onRecord: int
    byState: dict[str, int]
    byHealth: dict[str, int]


class FleetShape(TypedDict):
    """The fleet as a whole, and this daemon. `commit` is that of the last plan."""

    fleet: str
    commit: str
    ref: str
    mode: str
    role: str
    ready: bool
    notReady: str
    agents: AgentCountsShape
    clusters: list[ClusterShape]


class AgentListShape(More):
    """A page of agents. `asOf` only where the registry is away, and a copy of then answers."""

    items: list[RecordShape]
    asOf: NotRequired[str]


class RevisionListShape(More):
    """Revisions of an agent, newest first."""

    items: list[RevisionShape]


class HealthShape(AssessmentShape):
    """Health of an agent by the last sweep; of one agent with its `trend`, null where none is on record."""

    at: str
    requiresRecovery: bool
    trend: NotRequired[Mapping[str, Any] | None]


class HealthListShape(More):
    """Health of agents by name."""

    items: list[HealthShape]


class AuditListShape(TypedDict):
    """A page of the audit log, oldest first; `more` is there with `since` the last `seq`."""

    items: list[AuditShape]
    more: bool


class PlanPageShape(More, PlanShape):
    """The last plan, with a page of its changes in order of execution. `cut` names the other lists that are not whole:
    they end at their first thousand.
    """

    cut: list[str]
