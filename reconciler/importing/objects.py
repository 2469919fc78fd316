"""Kubernetes objects as they are written down or read: files with many of them, lists, what a cluster shows.

May live here: the step from bytes to objects. Must not: know what objects mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from reconciler.importing.reading import mapping, maps, text
from reconciler.model.identity import ObjectRef
from reconciler.model.objects import RENDERED_KINDS, LiveObject
from reconciler.model.source import Blob, Diagnostic, JsonObject
from reconciler.spec.documents import Limits, read_documents

KAGENT = "kagent.dev"
KINDS: tuple[tuple[str, str, str], ...] = (
    *RENDERED_KINDS,
    (KAGENT, "v1alpha2", "Agent"),
    (KAGENT, "v1alpha2", "ModelConfig"),
)
"""(group, version, kind) of all that an import looks at."""
DUMP = Limits(bytes=32 * 1024 * 1024, nodes=2_000_000, key=4096)
"""How much one input may be: a dump of a namespace is larger than what people write, and has longer keys."""
MAX_NESTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeObject:
    """One object. `live`: a cluster has it (it carries a uid); `source` says where it was read."""

    ref: ObjectRef
    version: str
    source: str
    body: JsonObject = field(repr=False)

    @property
    def live(self) -> bool:
        return bool(text(mapping(self.body, "metadata").get("uid")))

    @property
    def labels(self) -> JsonObject:
        return mapping(self.body, "metadata", "labels")

    @property
    def annotations(self) -> JsonObject:
        return mapping(self.body, "metadata", "annotations")


def read_objects(
    path: str, data: bytes, *, namespace: str = ""
) -> tuple[tuple[KubeObject, ...], tuple[Diagnostic, ...]]:
    """All objects of one file, lists opened, and what is wrong with the file. Never raises.

    `namespace` is for objects that say none, as `helm template` and kustomize leave them.
    """
    documents, found = read_documents(path, Blob(id="", data=data), limits=DUMP)
    bodies = [body for document in documents for body in _opened(document.value, MAX_NESTED)]
    made = (_object(body, path, namespace) for body in bodies)
    return tuple(item for item in made if item is not None), found


def of_live(objects: Iterable[LiveObject], cluster: str) -> tuple[KubeObject, ...]:
    """Objects that a cluster shows."""
    return tuple(
        KubeObject(
            ref=live.ref,
            version=text(live.body.get("apiVersion")).rpartition("/")[2],
            source=f"cluster {cluster}",
            body=live.body,
        )
        for live in objects
    )


def _opened(body: JsonObject, depth: int) -> Iterator[JsonObject]:
    """An object, or those of a list; items of a typed list (`DeploymentList`) say no kind of their own."""
    kind, items = text(body.get("kind")), body.get("items")
    if not (kind.endswith("List") and isinstance(items, list)) or not depth:
        yield body
        return
    said = {} if kind == "List" else {"apiVersion": body.get("apiVersion"), "kind": kind.removesuffix("List")}
    for item in maps(items):
        yield from _opened({**said, **item}, depth - 1)


def _object(body: JsonObject, source: str, namespace: str) -> KubeObject | None:
    """None for what is no object."""
    group, slash, version = text(body.get("apiVersion")).partition("/")
    metadata = mapping(body, "metadata")
    kind, name = text(body.get("kind")), text(metadata.get("name"))
    if not (group and kind and name):
        return None
    ref = ObjectRef(
        group=group if slash else "",
        kind=kind,
        namespace=text(metadata.get("namespace")) or namespace,
        name=name,
    )
    return KubeObject(ref=ref, version=version if slash else group, source=source, body=body)
