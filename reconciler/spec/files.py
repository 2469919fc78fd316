"""One file of a fleet, read and sorted by kind: what can be said of it without any other file.

May live here: envelopes (apiVersion, kind, metadata) and identities. Must not: know templates' contents or other files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from reconciler.model.identity import AgentName
from reconciler.model.source import Blob, Diagnostic, Document, Position, Severity
from reconciler.spec.authoring import AgentMetadata, TemplateMetadata
from reconciler.spec.authoring_fleet import API_VERSION, DOCUMENTS, FleetMetadata
from reconciler.spec.documents import LINK_MODE, locate, read_documents, snippet
from reconciler.spec.fields import is_label
from reconciler.spec.nearest import did_you_mean
from reconciler.spec.shape import MAX_PROBLEMS, Problem, bounded, problems
from reconciler.spec.templates import MAX_CHAIN, malformed_extends

FLEET_FILE = "fleet.yaml"
_METADATA: dict[str, type[BaseModel]] = {
    "Fleet": FleetMetadata,
    "AgentTemplate": TemplateMetadata,
    "Agent": AgentMetadata,
}
_TOP = frozenset({"apiVersion", "kind", "metadata", "spec"})
_GROUP = API_VERSION.partition("/")[0]
_OURS = f"{_GROUP}/v".encode()
_NO_TEXT = frozenset({"symlink", "file-too-large", "not-utf8"})
"""Findings after which nobody can tell from its bytes which names a file holds."""
_OF_THE_FILE = _NO_TEXT | {"empty-file"}
"""Findings after which nobody can tell from its bytes whether a file held agents."""
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """A declared agent whose identity is readable. `broken` lists findings of its envelope."""

    name: AgentName
    document: Document
    metadata: AgentMetadata | None
    broken: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReading:
    """`unreadable` is set when agents may have been in here that cannot be told any more.

    `words` then are all in it that may be a name, in lower case; None where that cannot be told either.
    """

    path: str
    data: bytes
    agents: tuple[AgentEntry, ...] = ()
    templates: tuple[tuple[str, Document], ...] = ()
    fleets: tuple[Document, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    unreadable: tuple[Diagnostic, ...] = ()
    words: frozenset[str] | None = None


def is_fleet_file(path: str) -> bool:
    """Whether a path is read at all: YAML, and in no hidden folder."""
    return path.endswith((".yaml", ".yml")) and not path.startswith(".") and "/." not in path


def is_read(path: str, blob: Blob) -> bool:
    """Whether a blob is read: a file of the fleet, or a link in our folders that may lead to a whole folder of them.

    Links are not followed, so what is behind one cannot be told from what was deleted.
    """
    link = blob.mode == LINK_MODE and _in_our_folders(path) and "/." not in path
    return is_fleet_file(path) or (link and "." not in path.rpartition("/")[2])


def read_file(path: str, blob: Blob, revision: str) -> FileReading:
    """Everything that one file says. Never raises."""
    documents, found = read_documents(path, blob, revision)
    if found and _foreign(path, blob.data, found):
        return FileReading(path=path, data=blob.data)
    if found:
        words = _words(blob.data, found)
        return FileReading(path=path, data=blob.data, diagnostics=found, unreadable=found, words=words)
    reader = _FileReader(path, blob.data)
    for document in documents:
        reader.document(document)
    return FileReading(
        path=path,
        data=blob.data,
        agents=tuple(reader.agents),
        templates=tuple(reader.templates),
        fleets=tuple(reader.fleets),
        diagnostics=tuple(reader.diagnostics),
        unreadable=tuple(reader.unreadable),
        words=_words(blob.data, reader.unreadable) if reader.unreadable else None,
    )


def _words(data: bytes, found: Iterable[Diagnostic]) -> frozenset[str] | None:
    """What may be a name in a file of which not all is read: a name that stands in it may be an agent's."""
    if any(each.code in _NO_TEXT for each in found):
        return None
    return frozenset(_WORD.findall(data.decode().lower()))


def _foreign(path: str, data: bytes, found: tuple[Diagnostic, ...]) -> bool:
    """Whether what cannot be read is another program's: a chart's templates, say. Ours names our API group."""
    return not (_in_our_folders(path) or _OURS in data or any(each.code in _OF_THE_FILE for each in found))


def _in_our_folders(path: str) -> bool:
    return path == FLEET_FILE or path.partition("/")[0] in ("agents", "templates")


def diagnose(problem: Problem, position: Position, data: bytes, *, severity: Severity = Severity.ERROR) -> Diagnostic:
    """A problem at its place, with its source line."""
    return Diagnostic(
        severity=severity,
        code=problem.code,
        message=problem.message,
        position=position,
        hint=problem.hint,
        snippet=snippet(data, position.line),
    )


class _FileReader:
    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.data = path, data
        self.agents: list[AgentEntry] = []
        self.templates: list[tuple[str, Document]] = []
        self.fleets: list[Document] = []
        self.diagnostics: list[Diagnostic] = []
        self.unreadable: list[Diagnostic] = []

    def document(self, document: Document) -> None:
        value = document.value
        if not self._ours(document):
            return
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in DOCUMENTS:
            hint = did_you_mean(kind, DOCUMENTS) if isinstance(kind, str) else ""
            problem = Problem(
                code="unknown-kind", message=f"unknown kind {str(kind)[:40]!r}", path=("kind",), hint=hint
            )
            self._lose(self._at(problem, document))
            return
        metadata, wrong = _envelope(document, kind)
        found = [self._at(problem, document) for problem in bounded(wrong)]
        self.diagnostics += found
        match kind:
            case "Fleet":
                self.fleets.append(document)
            case "AgentTemplate":
                name = _name(value)
                if name is not None:
                    self.templates.append((name, document))
            case _:
                self._agent(document, metadata, tuple(found))

    def _ours(self, document: Document) -> bool:
        """Whether a document is for us. A foreign one is left alone outside of our own folders."""
        version = document.value.get("apiVersion")
        if version == API_VERSION:
            return True
        group = str(version).partition("/")[0]
        if not _in_our_folders(self.path) and group != _GROUP:
            return False
        problem = Problem(
            code="unknown-api-version",
            message=f"apiVersion is {str(version)[:60]!r}" if version is not None else "'apiVersion' is missing",
            path=("apiVersion",),
            hint=f"say apiVersion: {API_VERSION}",
        )
        self._lose(self._at(problem, document))
        return False

    def _agent(self, document: Document, metadata: BaseModel | None, found: tuple[Diagnostic, ...]) -> None:
        """An agent whose name or namespace is none is lost: nobody can tell which one it was."""
        name, namespace = _name(document.value), self._namespace(document)
        if name is not None and not found and (namespace is None or not is_label(namespace)):
            found = (self._at(_namespace_problem(namespace), document),)
            self.diagnostics += found
        if name is None or namespace is None or not (is_label(name) and is_label(namespace)):
            self.unreadable += found
            return
        identity = AgentName(namespace=namespace, name=name)
        sound = metadata if isinstance(metadata, AgentMetadata) and not found else None
        self.agents.append(AgentEntry(name=identity, document=document, metadata=sound, broken=found))

    def _namespace(self, document: Document) -> str | None:
        metadata = document.value.get("metadata")
        given = metadata.get("namespace") if isinstance(metadata, dict) else None
        if isinstance(given, str):
            return given
        parts = self.path.split("/")
        return parts[1] if len(parts) > 2 and parts[0] == "agents" and given is None else None

    def _at(self, problem: Problem, document: Document) -> Diagnostic:
        return diagnose(problem, locate(document, problem.path, key=problem.key), self.data)

    def _lose(self, diagnostic: Diagnostic) -> None:
        self.diagnostics.append(diagnostic)
        self.unreadable.append(diagnostic)


def _namespace_problem(folder: str | None) -> Problem:
    if folder is None:
        code, message, hint = (
            "missing-namespace",
            "'metadata.namespace' is missing",
            "say it, or put the file into a folder agents/NAMESPACE/",
        )
    else:
        code, message, hint = (
            "bad-namespace",
            f"the folder {folder[:63]!r} cannot be a namespace",
            "say metadata.namespace, or rename the folder: lower-case letters, digits and dashes",
        )
    return Problem(code=code, message=message, path=("metadata",), hint=hint, key=True)


def _name(value: Any) -> str | None:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) and name else None


def _envelope(document: Document, kind: str) -> tuple[BaseModel | None, list[Problem]]:
    """The metadata, as far as it is valid, and what is wrong with the document around its spec."""
    value = document.value
    found = [
        Problem(
            code="unknown-field",
            message=f"unknown field {key[:40]!r}",
            path=(key,),
            hint=did_you_mean(key, _TOP) if index < MAX_PROBLEMS else "",
            key=True,
        )
        for index, key in enumerate(key for key in value if key not in _TOP)
    ]
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return None, [
            *found,
            Problem(code="missing-field", message="'metadata' is missing", path=("metadata",), key=True),
        ]
    model = None
    try:
        model = _METADATA[kind].model_validate(metadata)
    except ValidationError as error:
        for problem in problems(error, metadata, _METADATA[kind]):
            path = ("metadata", *problem.path)
            found.append(
                Problem(code=problem.code, message=problem.message, path=path, hint=problem.hint, key=problem.key)
            )
    spec = value.get("spec")
    if spec is not None and not isinstance(spec, dict):
        found.append(Problem(code="wrong-type", message="a mapping is expected here", path=("spec",)))
    if isinstance(spec, dict) and kind == "Agent" and malformed_extends(document):
        message = f"a list of at most {MAX_CHAIN} template names is expected here"
        found.append(Problem(code="wrong-type", message=message, path=("spec", "extends"), hint="extends: [name]"))
    if spec is None and kind == "Agent":
        found.append(Problem(code="missing-field", message="'spec' is missing", path=(), key=True))
    return model, found
