"""fleet.yaml: from its document to a FleetSpec, or to findings."""

from __future__ import annotations

from pydantic import ValidationError

from reconciler.model.fleet import (
    ArangoRegistry,
    ClusterDeclaration,
    DeletionBudget,
    EmbeddedCluster,
    FleetSpec,
    KubernetesCluster,
    Quota,
    SqliteRegistry,
)
from reconciler.model.source import Diagnostic, Document
from reconciler.model.units import Quantity
from reconciler.model.window import DAYS, Effect, Window
from reconciler.spec.authoring_fleet import ClusterEntry, FleetBody, FleetDocument, RegistryEntry, WindowEntry
from reconciler.spec.build import alert
from reconciler.spec.documents import locate
from reconciler.spec.files import diagnose
from reconciler.spec.shape import bounded, problems
from reconciler.spec.templates import without_nulls

DEFAULT_CLUSTER = ClusterDeclaration(name="local", backend=EmbeddedCluster())


def read_fleet_document(document: Document, data: bytes) -> tuple[FleetSpec | None, tuple[Diagnostic, ...]]:
    """The fleet, or None and why. Its envelope is judged where files are read."""
    value = {key: without_nulls(item) for key, item in document.value.items() if item is not None or key != "spec"}
    try:
        read = FleetDocument.model_validate(value)
    except ValidationError as error:
        found = [problem for problem in problems(error, value, FleetDocument) if problem.path[:1] == ("spec",)]
        return None, tuple(
            diagnose(problem, locate(document, problem.path, key=problem.key), data) for problem in bounded(found)
        )
    body = read.spec
    return (
        FleetSpec(
            name=read.metadata.name,
            clusters=tuple(map(_cluster, body.clusters)) or (DEFAULT_CLUSTER,),
            registry=_registry(body.registry),
            quotas=_quotas(body),
            deletions=DeletionBudget(max=body.deletions.max, percent=body.deletions.percent),
            alerts=tuple(map(alert, body.alerts)),
            windows=tuple(map(_window, body.windows)),
            document=body.model_dump(mode="json", by_alias=True, exclude_none=True),
        ),
        (),
    )


def _cluster(entry: ClusterEntry) -> ClusterDeclaration:
    if entry.embedded is not None:
        backend: EmbeddedCluster | KubernetesCluster = EmbeddedCluster(run=entry.embedded.run)
    else:
        given = entry.kubernetes
        backend = KubernetesCluster(
            context=given.context or "" if given else "",
            kubeconfig=given.kubeconfig or "" if given else "",
            in_cluster=given.in_cluster if given else False,
        )
    return ClusterDeclaration(name=entry.name, backend=backend, labels=entry.labels, weight=entry.weight)


def _registry(entry: RegistryEntry) -> SqliteRegistry | ArangoRegistry:
    if entry.arango is not None:
        given = entry.arango
        return ArangoRegistry(
            url=given.url,
            coordinators=tuple(given.coordinators),
            ca_file=given.ca_file or "",
            database=given.database,
            username_env=given.username_env,
            password_env=given.password_env,
        )
    return SqliteRegistry(path=entry.sqlite.path) if entry.sqlite else SqliteRegistry()


def _window(entry: WindowEntry) -> Window:
    return Window(
        name=entry.name,
        effect=Effect(entry.effect),
        days=frozenset(map(DAYS.index, entry.days or DAYS)),
        start=_minute(entry.start),
        end=_minute(entry.end),
        timezone=entry.timezone,
        namespaces=frozenset(entry.match.namespaces),
        labels=entry.match.labels,
    )


def _minute(text: str) -> int:
    """The minute of the day of a validated time."""
    hours, _, minutes = text.partition(":")
    return 60 * int(hours) + int(minutes)


def _quotas(body: FleetBody) -> tuple[Quota, ...]:
    return tuple(
        Quota(
            namespace=quota.namespace,
            agents=quota.agents,
            replicas=quota.replicas,
            cpu=Quantity.parse(quota.cpu) if quota.cpu else None,
            memory=Quantity.parse(quota.memory) if quota.memory else None,
        )
        for quota in body.quotas
    )
