"""Lists: whole kinds, read in pages of one consistent version, decoded as far as they are looked into.

A list with a page that failed is no list: it raises, and nothing of it is used.
Source: Kubernetes API concepts, "Retrieving large results sets in chunks".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from reconciler.adapters.kubernetes.answers import NOT_UNDERSTOOD, Gone
from reconciler.adapters.kubernetes.resources import Resource
from reconciler.adapters.kubernetes.transport import Request, Transport
from reconciler.model.errors import ClusterUnavailable
from reconciler.model.identity import ObjectRef
from reconciler.model.lazyobject import LazyBody, head_of
from reconciler.model.objects import LiveObject

PAGE = 500
"""Objects a page: as kubectl asks."""
MOST_PAGES = 2000


Slim = TypeVar("Slim")


class _Continue(msgspec.Struct, rename={"token": "continue"}):
    token: str = ""
    resourceVersion: str = ""  # noqa: N815 - the name on the wire


class _Page(msgspec.Struct):
    """A list as it comes; its items stay bytes."""

    kind: str
    metadata: _Continue
    items: list[msgspec.Raw] | None


_page_of = msgspec.json.Decoder(_Page).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """All objects of one kind, in one namespace or everywhere, at one version."""

    objects: dict[ObjectRef, LiveObject]
    version: str


async def list_all(
    transport: Transport, resource: Resource, *, namespace: str = "", labels: Mapping[str, str] | None = None
) -> Listed:
    """A complete list. Raises what Transport.call raises, and ClusterUnavailable for what is no list."""
    try:
        return await _in_pages(transport, resource, namespace, labels or {})
    except Gone:  # the version went while we read: once more, from the start
        return await _in_pages(transport, resource, namespace, labels or {})


async def _in_pages(transport: Transport, resource: Resource, namespace: str, labels: Mapping[str, str]) -> Listed:
    query = {"limit": str(PAGE)}
    if labels:
        query["labelSelector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    where = f" in {namespace}" if namespace else ""
    request = Request(method="GET", path=resource.path(namespace), what=f"list {resource.plural}{where}", query=query)
    objects: dict[ObjectRef, LiveObject] = {}
    version = ""
    try:
        async for page in _pages(transport, request):
            version = version or page.metadata.resourceVersion
            for raw in page.items or ():
                one = live_object(bytes(raw), resource)
                objects[one.ref] = one
    except NOT_UNDERSTOOD as error:
        raise ClusterUnavailable(f"{request.what}: the answer is no list: {error}") from error
    return Listed(objects=objects, version=version)


async def list_as(transport: Transport, resource: Resource, kind: type[Slim], *, fields: str = "") -> list[Slim]:
    """All of a kind, everywhere, as a slim struct; `fields` is a field selector. Raises as list_all does."""
    query = {"limit": str(PAGE), **({"fieldSelector": fields} if fields else {})}
    request = Request(method="GET", path=resource.path(), what=f"list {resource.plural}", query=query)
    decoder = msgspec.json.Decoder(kind)
    found: list[Slim] = []
    try:
        async for page in _pages(transport, request):
            found.extend(decoder.decode(raw) for raw in page.items or ())
    except NOT_UNDERSTOOD as error:
        raise ClusterUnavailable(f"{request.what}: the answer is no list: {error}") from error
    return found


async def _pages(transport: Transport, first: Request) -> AsyncIterator[_Page]:
    """The pages of a list, each decoded as far as its items. Raises MsgspecError for what is none."""
    request, token = first, ""
    for _ in range(MOST_PAGES):
        page = _page_of((await transport.call(request)).body)
        if not (page.kind.endswith("List") and page.metadata.resourceVersion):
            raise msgspec.ValidationError(f"it is of kind {page.kind!r}")
        yield page
        if not page.metadata.token:
            return
        if page.metadata.token == token:
            raise msgspec.ValidationError("it goes on with the page that it was")
        token = page.metadata.token
        query = {**(first.query or {}), "continue": page.metadata.token}
        request = Request(method="GET", path=first.path, what=first.what, query=query)
    raise ClusterUnavailable(f"{first.what}: the list has no end after {MOST_PAGES} pages")


def live_object(data: bytes, resource: Resource) -> LiveObject:
    """An object as the port speaks of it. Raises NOT_UNDERSTOOD for bytes that are none."""
    head = head_of(data)
    metadata = head.metadata
    if not (metadata.name and metadata.uid and metadata.resourceVersion):
        raise msgspec.ValidationError("an object has no name, uid or resourceVersion")
    ref = ObjectRef(
        group=resource.group,
        kind=resource.kind,
        namespace=metadata.namespace or "",
        name=metadata.name or "",
    )
    return LiveObject(
        ref=ref,
        uid=metadata.uid or "",
        resource_version=metadata.resourceVersion or "",
        body=LazyBody(data, head, resource.type_meta),
    )
