"""KubernetesCluster: the Cluster port over one API server.

Reads answer from a watch's copy where `changes` has one running and well, else by a list of their own; a single `get`
is always live. Writes are server-side apply and deletes with preconditions inside the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reconciler.adapters.kubernetes import room
from reconciler.adapters.kubernetes.answers import NOT_UNDERSTOOD, Busy, Elsewhere, NoAccess, NoNamespace, NotThere
from reconciler.adapters.kubernetes.bodies import apply_body
from reconciler.adapters.kubernetes.connection import Connection, Login
from reconciler.adapters.kubernetes.listing import list_all, list_as, live_object
from reconciler.adapters.kubernetes.resources import BUILT_IN, Resource
from reconciler.adapters.kubernetes.transport import APPLY, EDIT, Request
from reconciler.adapters.kubernetes.watches import Watches
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
from reconciler.model.objects import (
    FIELD_MANAGER,
    OPTIONAL_KINDS,
    Absent,
    AnyState,
    Capacity,
    ClusterIdentity,
    Found,
    LiveObject,
    LiveSet,
    LogOptions,
    Manifest,
    MustBe,
    MustBeAbsent,
    Observation,
    Precondition,
    Scope,
    Unreadable,
    Usage,
    main_container,
)
from reconciler.model.ownership import OwnedPath, taken
from reconciler.ports import Clock

_CREATED = 201
SHUT_OUT = frozenset({301, 302, 303, 307, 308, 401, 403, 407})
"""What a proxy before a server says to those whom it does not let in. Source: RFC 9110, sections 15.4 and 15.5."""
TAKES = 5
IDENTITY_WAIT_S = 8.0
"""So long who the cluster is waits where a server asks us to: whoever asks is to hear of that before it gives up."""
_NODE, _POD, _NAMESPACE = BUILT_IN["", "Node"], BUILT_IN["", "Pod"], BUILT_IN["", "Namespace"]
_METRICS = Resource(group="metrics.k8s.io", version="v1beta1", kind="PodMetrics", plural="pods")
_RUNNING = "status.phase!=Succeeded,status.phase!=Failed"
_ANCHOR = "kube-system"
"""The namespace whose uid stands for the cluster: it lives as long as the cluster does."""


class _Version(msgspec.Struct):
    gitVersion: str = ""  # noqa: N815 - the name on the wire


class _DeletedDetails(msgspec.Struct):
    uid: str = ""


class _Deleted(msgspec.Struct):
    """What a delete answers: a Status when the object is gone, the object while something holds it back."""

    kind: str = ""
    details: _DeletedDetails = msgspec.field(default_factory=_DeletedDetails)


class _Items(msgspec.Struct):
    items: list[msgspec.Raw] | None


class KubernetesCluster:
    """One cluster of a kubeconfig context, or the one that we run in. Use it inside one event loop."""

    def __init__(self, name: str, login: Login, clock: Clock) -> None:
        self._name = name
        self._at = Connection(name, login, clock)
        self._watches = Watches(self._at, clock)

    @property
    def name(self) -> str:
        return self._name

    @property
    def reaches_pods(self) -> bool:
        """Only from inside: from outside, a pod's address belongs to whatever network we are in."""
        return self._at.inside

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._at.opened.requests if self._at.opened else 0

    async def close(self) -> None:
        """End watches and connections."""
        await self._watches.close()
        await self._at.close()

    async def identity(self) -> Observation[ClusterIdentity]:
        """See ports.Cluster. Asked past all that waits its turn: many slow answers do not make a cluster a dead one."""
        patience_s = IDENTITY_WAIT_S
        try:
            (namespace, version, served) = await asyncio.gather(
                self._object(_NAMESPACE, "", _ANCHOR, patience_s=patience_s),
                self._at.read("/version", f"read the version of {self._name}", _Version, patience_s=patience_s),
                asyncio.gather(*(self._at.resource(*kind, patience_s=patience_s) for kind in OPTIONAL_KINDS)),
            )
        except ReconcilerError as error:
            return _unreadable(error)
        apis = frozenset(one.api_version for one in served if one is not None)
        return Found(ClusterIdentity(uid=namespace.uid, version=version.gitVersion, apis=apis))

    async def observe(self, scope: Scope) -> Observation[LiveSet]:
        """A complete list. Kinds or namespaces that alone cannot be read are named inside, with the reason."""
        parts = [
            (group, version, kind, namespace)
            for group, version, kind in scope.kinds
            for namespace in (("",) if scope.namespaces is None else sorted(scope.namespaces))
        ]
        answers = await asyncio.gather(*(self._part(*part, scope) for part in parts), return_exceptions=True)
        objects: dict[ObjectRef, LiveObject] = {}
        unreadable: dict[tuple[str, str], str] = {}
        for (_, _, kind, namespace), answer in zip(parts, answers, strict=True):
            match answer:
                case ReconcilerError():
                    unreadable[kind, namespace] = _unreadable(answer).reason
                case BaseException():
                    raise answer
                case _:
                    objects.update(answer)
        if unreadable and len(unreadable) == len(parts) and not _all_forbidden(answers):
            return Unreadable(reason=next(iter(unreadable.values())))
        return Found(LiveSet(objects=objects, unreadable=unreadable))

    async def _part(
        self, group: str, version: str, kind: str, namespace: str, scope: Scope
    ) -> Mapping[ObjectRef, LiveObject]:
        """One kind in one namespace, or everywhere. A kind that the server does not have has no objects."""
        resource = await self._at.resource(group, version, kind)
        if resource is None:
            return {}
        copy = self._watches.copy_of(resource, namespace)
        if scope.names is not None:
            refs = [ObjectRef(group=group, kind=kind, namespace=namespace, name=one) for one in sorted(scope.names)]
            return copy.named(refs) if copy else await self._named(refs)
        if copy is not None:
            return copy.selected(namespace, scope.labels)
        transport = await self._at.transport()
        try:
            listed = await list_all(transport, resource, namespace=namespace, labels=scope.labels)
        except Elsewhere as error:
            if error.code == 404:
                self._at.forget(resource)
            raise
        if not scope.labels:
            self._watches.seed(resource, namespace, listed)
        return listed.objects

    async def _named(self, refs: Iterable[ObjectRef]) -> Mapping[ObjectRef, LiveObject]:
        """Single objects, each read live."""
        found: dict[ObjectRef, LiveObject] = {}
        for ref in refs:
            match await self.get(ref):
                case Found(value=one):
                    found[ref] = one
                case Unreadable(reason=reason):
                    raise ClusterUnavailable(reason, ref=ref, cluster=self._name)
        return found

    async def get(self, ref: ObjectRef) -> Observation[LiveObject]:
        try:
            resource = await self._at.resource(ref.group, "", ref.kind)
            return Absent() if resource is None else await self._look(resource, ref)
        except ReconcilerError as error:
            return _unreadable(error)

    async def _look(self, resource: Resource, ref: ObjectRef) -> Found[LiveObject] | Absent:
        """One object, live. Raises what Transport.call raises."""
        try:
            return Found(await self._object(resource, ref.namespace, ref.name))
        except NotThere:
            return Absent()

    async def _object(
        self, resource: Resource, namespace: str, name: str, *, patience_s: float | None = None
    ) -> LiveObject:
        ref = ObjectRef(group=resource.group, kind=resource.kind, namespace=namespace, name=name)
        path = resource.path(namespace, name)
        transport = await self._at.transport()
        request = Request(method="GET", path=path, what=f"get {ref}", ref=ref, patience_s=patience_s)
        reply = await transport.call(request)
        return self._decoded(reply.body, resource, ref, f"get {ref}")

    def _decoded(self, body: bytes, resource: Resource, ref: ObjectRef, what: str) -> LiveObject:
        """The object that was asked for, and no other."""
        try:
            one = live_object(body, resource)
        except NOT_UNDERSTOOD as error:
            text = f"{what} on {self._name}: the answer is no object: {error}"
            raise ClusterUnavailable(text, ref=ref, cluster=self._name) from error
        if one.ref != ref:
            raise ClusterUnavailable(f"{what} on {self._name}: the answer is {one.ref}", ref=ref, cluster=self._name)
        self._watches.learn(resource, one)
        return one

    async def apply(
        self,
        manifest: Manifest,
        expect: Precondition,
        *,
        manager: str = FIELD_MANAGER,
        force: bool = False,
        take: Sequence[OwnedPath] = (),
    ) -> LiveObject:
        ref = manifest.ref
        resource = await self._writable(ref, str(manifest.body.get("apiVersion", "")))
        if isinstance(expect, MustBeAbsent):
            return await self._create(resource, manifest, manager)
        try:
            if take:
                expect = await self._take(resource, ref, expect, manager, take)
            return (await self._patch(resource, ref, _with(manifest.body, expect), manager, force=force))[1]
        except NotThere as error:
            if isinstance(expect, MustBe):
                raise PreconditionFailed(error.message, ref=ref, cluster=self._name) from error
            raise

    async def _create(self, resource: Resource, manifest: Manifest, manager: str) -> LiveObject:
        """Apply what must not be there yet.

        An API server has no such precondition for apply: a look comes first (a watch's copy will do, it deletes
        nothing), and an answer that says "changed" instead of "created" is taken back. But where nobody else has
        written to it, we made it: by an earlier apply whose answer was lost, and that came to its end only now.
        """
        ref = manifest.ref
        taken = PreconditionFailed(f"{ref} is there already on {self._name}", ref=ref, cluster=self._name)
        copy = self._watches.copy_of(resource, ref.namespace)
        if (copy is None or copy.get(ref) is not None) and isinstance(await self._look(resource, ref), Found):
            raise taken
        try:
            code, one = await self._patch(resource, ref, dict(manifest.body), manager, force=False)
        except FieldConflict as error:
            raise taken from error
        if code == _CREATED or _is_made_by(manager, one):
            return one
        bare = {**resource.type_meta, "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": one.uid}}
        await self._patch(resource, ref, bare, manager, force=False)
        raise taken

    async def _take(
        self, resource: Resource, ref: ObjectRef, expect: Precondition, manager: str, paths: Sequence[OwnedPath]
    ) -> Precondition:
        """Write down that fields are ours from now on, and nothing else: apply has no way to say so.

        Answers the precondition of the apply that follows. A status write between the read and ours is common, and
        harmless.
        """
        for attempt in range(TAKES):
            live = await self._object(resource, ref.namespace, ref.name)
            known = expect if isinstance(expect, MustBe) else MustBe(uid=live.uid)
            if live.uid != known.uid or known.resource_version not in ("", live.resource_version):
                raise PreconditionFailed(f"{ref} on {self._name} is not what it was", ref=ref, cluster=self._name)
            try:
                version = await self._own(resource, live, manager, paths)
            except PreconditionFailed:
                if attempt == TAKES - 1 or known.resource_version:
                    raise
            else:
                return MustBe(uid=live.uid, resource_version=version if known.resource_version else "")
        raise AssertionError("unreachable: the last attempt answers")

    async def _own(self, resource: Resource, live: LiveObject, manager: str, paths: Sequence[OwnedPath]) -> str:
        """Replace managedFields of an object as it was read; answers its new version."""
        entries = live.metadata.get("managedFields") or ()
        api_version = str(live.body["apiVersion"])
        edits = {
            "/metadata/managedFields": taken(entries, paths, manager=manager, api_version=api_version),
            "/metadata/resourceVersion": live.resource_version,
        }
        request = Request(
            method="PATCH",
            path=resource.path(live.ref.namespace, live.ref.name),
            what=f"take over fields of {live.ref}",
            ref=live.ref,
            query={"fieldManager": manager},
            body=msgspec.json.encode([{"op": "add", "path": path, "value": edits[path]} for path in edits]),
            content_type=EDIT,
        )
        return (await self._write(resource, live.ref, request))[1].resource_version

    async def _patch(
        self, resource: Resource, ref: ObjectRef, body: Mapping[str, Any], manager: str, *, force: bool
    ) -> tuple[int, LiveObject]:
        request = Request(
            method="PATCH",
            path=resource.path(ref.namespace, ref.name),
            what=f"apply {ref}",
            ref=ref,
            query={"fieldManager": manager, "force": "true" if force else "false"},
            body=apply_body(body),
            content_type=APPLY,
        )
        return await self._write(resource, ref, request)

    async def _write(self, resource: Resource, ref: ObjectRef, request: Request) -> tuple[int, LiveObject]:
        """Send a write and read the object that it answers. Raises OutcomeUnknown for an answer that is none.

        A namespace that nobody made says nothing against the object, no more than a right that nobody gave.
        """
        try:
            reply = await (await self._at.transport()).call(request)
        except NoNamespace as error:
            raise NotAllowed(error.message, ref=ref, cluster=self._name, hint=error.hint) from error
        try:
            return reply.code, self._decoded(reply.body, resource, ref, request.what)
        except ClusterUnavailable as error:
            raise OutcomeUnknown(error.message) from error

    async def delete(self, ref: ObjectRef, expect: Precondition) -> None:
        resource = await self._writable(ref, "")
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if isinstance(expect, MustBe):
            options["preconditions"] = {"uid": expect.uid}
            if expect.resource_version:
                options["preconditions"]["resourceVersion"] = expect.resource_version
        path, what = resource.path(ref.namespace, ref.name), f"delete {ref}"
        transport = await self._at.transport()
        body = msgspec.json.encode(options)
        try:
            reply = await transport.call(Request(method="DELETE", path=path, what=what, ref=ref, body=body))
        except NotThere as error:
            if isinstance(expect, MustBe):
                raise PreconditionFailed(f"{ref} is not there on {self._name}", ref=ref, cluster=self._name) from error
            return
        try:
            deleted = msgspec.json.decode(reply.body, type=_Deleted)
        except NOT_UNDERSTOOD as error:
            raise OutcomeUnknown(f"{what} on {self._name}: the answer cannot be understood: {error}") from error
        if deleted.kind == "Status":
            self._watches.gone(resource, ref, deleted.details.uid)

    async def _writable(self, ref: ObjectRef, api_version: str) -> Resource:
        """Where a kind is written. Raises Rejected where the server does not have it."""
        version = api_version.rpartition("/")[2]
        resource = await self._at.resource(ref.group, version, ref.kind)
        if resource is None:
            kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
            raise Rejected(f"{self._name} has no kind {kind}, so {ref} cannot be there", ref=ref, cluster=self._name)
        return resource

    def changes(self, scope: Scope) -> AsyncGenerator[ObjectRef, None]:
        return self._watches.changes(scope)

    async def capacity(self) -> Observation[Capacity]:
        """Nodes that take pods, less what the pods there request."""
        try:
            transport = await self._at.transport()
            nodes, pods = await asyncio.gather(
                list_as(transport, _NODE, room.Node), list_as(transport, _POD, room.Pod, fields=_RUNNING)
            )
            return Found(room.capacity(nodes, pods))
        except ReconcilerError as error:
            return _unreadable(error)

    async def usage(self, scope: Scope) -> Observation[Usage]:
        """What metrics.k8s.io says of pods. Kinds and labels of the scope are not looked at."""
        try:
            names = scope.namespaces
            one = next(iter(names)) if names is not None and len(names) == 1 else ""
            answer = await self._at.read(_METRICS.path(one), f"read pod metrics of {self._name}", _Items)
            items = [msgspec.json.decode(raw, type=room.PodMetrics) for raw in answer.items or ()]
            return Found(room.usage(items, names))
        except Elsewhere as error:
            missing = Unreadable(reason=f"{self._name} has no metrics.k8s.io: install metrics-server there")
            return missing if error.code == 404 else _unreadable(error)
        except ReconcilerError as error:
            return _unreadable(error)
        except NOT_UNDERSTOOD as error:
            return Unreadable(reason=f"{self._name}: its pod metrics cannot be understood: {error}")

    async def logs(self, pod: ObjectRef, options: LogOptions) -> AsyncIterator[str]:
        """Lines of the pod's main container."""
        found = await self._object(_POD, pod.namespace, pod.name)
        query = {"container": main_container(found.body)}
        if options.tail is not None:
            query["tailLines"] = str(options.tail)
        if options.follow:
            query["follow"] = "true"
        if options.previous:
            query["previous"] = "true"
        path = _POD.path(pod.namespace, pod.name, "log")
        request = Request(method="GET", path=path, what=f"read the log of {pod}", ref=pod, query=query)
        transport = await self._at.transport()
        async with transport.stream(request, silence_s=None if options.follow else 30.0) as lines:
            async for line in lines:
                yield line.decode("utf-8", "replace")


def _with(body: Mapping[str, Any], expect: Precondition) -> dict[str, Any]:
    """A body that carries its precondition: inside apply, uid and resourceVersion are checked by the server."""
    match expect:
        case MustBe(uid=uid, resource_version=version):
            metadata = {**body.get("metadata", {}), "uid": uid}
            if version:
                metadata["resourceVersion"] = version
            return {**body, "metadata": metadata}
        case MustBeAbsent() | AnyState():
            return dict(body)


def _is_made_by(manager: str, one: LiveObject) -> bool:
    """Whether nobody but one who applies has written to an object; what controllers say beside it is no matter."""
    entries = [entry for entry in one.metadata.get("managedFields") or () if not entry.get("subresource")]
    return bool(entries) and all(
        (entry.get("manager"), entry.get("operation")) == (manager, "Apply") for entry in entries
    )


def _unreadable(error: ReconcilerError) -> Unreadable:
    reason = f"{error.message}; {error.hint}" if error.hint else error.message
    shut_out = isinstance(error, Elsewhere) and error.code in SHUT_OUT
    return Unreadable(reason=reason, refused=shut_out or isinstance(error, NoAccess | NotAllowed | Busy))


def _all_forbidden(answers: Iterable[object]) -> bool:
    return all(isinstance(answer, NotAllowed) for answer in answers)
