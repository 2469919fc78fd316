"""Documents from bytes: YAML through the C parser's events with an explicit stack, and positions of all that is read.

May live here: reading one file, its limits, and looking positions up. Must not: know kinds, templates or fleets.
Why events: composing recurses in C and dies at depth 200,000; a merge-key bomb takes seconds. Events are flat, so
each limit is checked before anything is built.

Positions are packed in preorder: two ints a node, `line << 20 | column` of its key (or -1) and of its value.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import yaml

from reconciler.model.identity import FieldPath
from reconciler.model.source import Blob, Diagnostic, Document, JsonObject, Position, Severity
from reconciler.spec.scalars import plain

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 50_000
MAX_DOCUMENTS = 1_000
MAX_KEY = 253
MAX_SNIPPET = 200
LINK_MODE = "120000"
_SHIFT = 20
_MASK = (1 << _SHIFT) - 1
_STR_TAG = "tag:yaml.org,2002:str"


class _Refused(Exception):
    def __init__(self, code: str, message: str, mark: int, hint: str = "", length: int = 1) -> None:
        super().__init__(message)
        self.code, self.message, self.mark, self.hint, self.length = code, message, mark, hint, length


@dataclass(slots=True)
class _Frame:
    """An open collection. `keys` is None for a list; `key` is the key whose value is awaited."""

    value: Any
    start: int
    anchor: str | None
    keys: dict[str, int] | None
    key: str | None = None
    key_mark: int = -1


def read_documents(path: str, blob: Blob, revision: str = "") -> tuple[tuple[Document, ...], tuple[Diagnostic, ...]]:
    """All mappings of one YAML file, and what is wrong with it.

    A file with any finding gives no documents: half a file is not what its author meant. Empty documents are left
    out; a file that holds none at all is a finding (`empty-file`). Never raises; bounded in time and memory.
    """
    try:
        text = _text(blob)
        values = _Reader(text).documents()
    except _Refused as refused:
        return (), (_diagnostic(path, blob.data, refused),)
    documents = tuple(
        Document(path=path, blob=blob.id, index=index, value=value, marks=marks, revision=revision)
        for index, (value, marks) in enumerate(values)
    )
    if not documents:
        return (), (_diagnostic(path, blob.data, _Refused("empty-file", "the file holds nothing", 0, _EMPTY_HINT)),)
    return documents, ()


_EMPTY_HINT = "agents that came from it stay as they are; delete the file to delete them"


def _text(blob: Blob) -> str:
    if blob.mode == LINK_MODE:
        raise _Refused("symlink", "symbolic links are not followed", 0, "put the file itself here")
    if len(blob.data) > MAX_BYTES:
        raise _Refused("file-too-large", f"the file has {len(blob.data)} bytes, {MAX_BYTES} are allowed", 0)
    try:
        return blob.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = blob.data[: error.start]
        line = before.count(b"\n")
        column = len(before) - (before.rfind(b"\n") + 1)
        raise _Refused(
            "not-utf8", f"byte 0x{blob.data[error.start]:02x} is not UTF-8", line << _SHIFT | column
        ) from None


class _Reader:
    """One file's events, folded into values and marks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, array[int]]] = {}
        self._marks = array("q")
        self._nodes = 0
        self._root: Any = None
        self._root_mark = 0

    def documents(self) -> list[tuple[JsonObject, array[int]]]:
        try:
            return list(self._read())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = _pack(mark) if mark else 0
            raise _Refused("bad-yaml", str(error.problem or error.context or "not YAML"), at) from None
        except yaml.reader.ReaderError as error:
            before = self._text[: error.position]
            place = before.count("\n") << _SHIFT | (len(before) - (before.rfind("\n") + 1))
            raise _Refused("bad-yaml", f"character {error.character!r}: {error.reason}", place) from None
        except yaml.YAMLError as error:
            raise _Refused("bad-yaml", str(error).splitlines()[0], 0) from None

    def _read(self) -> Any:
        parser = yaml.CSafeLoader(self._text)
        try:
            count = 0
            while True:
                event = parser.get_event()
                if event is None or isinstance(event, yaml.StreamEndEvent):
                    return
                if isinstance(event, yaml.DocumentStartEvent):
                    count += 1
                    if count > MAX_DOCUMENTS:
                        raise _Refused(
                            "too-many-documents", f"more than {MAX_DOCUMENTS} documents", _pack(event.start_mark)
                        )
                    self._begin()
                elif isinstance(event, yaml.DocumentEndEvent):
                    if self._root is None:
                        continue
                    if not isinstance(self._root, dict):
                        raise _Refused(
                            "not-a-mapping", "a document is a mapping with apiVersion and kind", self._root_mark
                        )
                    yield self._root, self._marks
                elif not isinstance(event, yaml.StreamStartEvent):
                    self._event(event)
        finally:
            parser.dispose()

    def _begin(self) -> None:
        self._stack, self._anchors, self._marks, self._root, self._nodes = [], {}, array("q"), None, 0

    def _event(self, event: Any) -> None:
        mark = _pack(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, mark)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", mark)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event, mark)
        else:
            frame = self._stack.pop()
            if frame.anchor:
                self._anchors[frame.anchor] = (frame.value, self._marks[frame.start :])

    def _open(self, event: Any, mark: int) -> None:
        if event.tag is not None:
            raise _Refused("tag", f"the tag {event.tag[:60]} is not known here", mark, "leave tags out")
        if len(self._stack) >= MAX_DEPTH:
            raise _Refused("too-deep", f"nested deeper than {MAX_DEPTH} levels", mark)
        if self._awaits_key():
            raise _Refused("bad-key", "a key is text, not a list or mapping", mark)
        is_map = isinstance(event, yaml.MappingStartEvent)
        value: Any = {} if is_map else []
        start = len(self._marks)
        self._put(value, mark)
        self._stack.append(_Frame(value, start, event.anchor, {} if is_map else None))

    def _scalar(self, event: Any, mark: int) -> None:
        if event.tag not in (None, _STR_TAG, "!"):
            raise _Refused("tag", f"the tag {event.tag[:60]} is not known here", mark, "leave tags out, quote text")
        try:
            value = plain(event.value) if event.implicit[0] and event.tag is None else event.value
        except ValueError as error:
            raise _Refused("bad-number", str(error), mark, length=len(event.value[:MAX_SNIPPET])) from None
        if self._awaits_key():
            self._key(value, event, mark)
            return
        start = len(self._marks)
        self._put(value, mark)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._marks[start:])

    def _key(self, value: Any, event: Any, mark: int) -> None:
        frame = self._stack[-1]
        text: str = event.value
        if text == "<<" and event.implicit[0]:
            raise _Refused("merge-key", "merge keys (<<) are not read", mark, "use a template and `extends`", 2)
        if not isinstance(value, str):
            raise _Refused("bad-key", f"the key {text[:40]!r} is not text", mark, "quote it", len(text))
        if len(text) > MAX_KEY:
            raise _Refused("bad-key", f"a key of {len(text)} characters; {MAX_KEY} are allowed", mark)
        if frame.keys is None:
            return
        if text in frame.keys:
            line = (frame.keys[text] >> _SHIFT) + 1
            raise _Refused(
                "duplicate-key", f"the key {text!r} stands twice, first in line {line}", mark, length=len(text)
            )
        frame.keys[text] = mark
        frame.key, frame.key_mark = text, mark

    def _alias(self, anchor: str, mark: int) -> None:
        if self._awaits_key():
            raise _Refused("bad-key", "a key is text, not an alias", mark)
        known = self._anchors.get(anchor)
        if known is None:
            raise _Refused("bad-alias", f"*{anchor} is not set before it is used, or holds itself", mark)
        value, marks = known
        self._count(len(marks) // 2, mark)
        key_mark = self._attach(value, mark)
        self._marks.append(key_mark)
        self._marks.extend(marks[1:])

    def _put(self, value: Any, mark: int) -> None:
        self._count(1, mark)
        self._marks.append(self._attach(value, mark))
        self._marks.append(mark)

    def _count(self, nodes: int, mark: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _Refused("too-many-nodes", f"more than {MAX_NODES} values in one document, aliases counted", mark)

    def _awaits_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].keys is not None and self._stack[-1].key is None

    def _attach(self, value: Any, mark: int) -> int:
        """Put a value into the open collection; its key's mark, or -1."""
        if not self._stack:
            self._root, self._root_mark = value, mark
            return -1
        frame = self._stack[-1]
        if frame.keys is None:
            frame.value.append(value)
            return -1
        frame.value[frame.key] = value
        frame.key = None
        return frame.key_mark


def _pack(mark: Any) -> int:
    line: int = mark.line
    column: int = mark.column
    return line << _SHIFT | min(column, _MASK)


def locate(document: Document, path: FieldPath, *, key: bool = False) -> Position:
    """Where the field at `path` stands: its value, or its key with `key`. The nearest ancestor when it is not there."""
    value: Any = document.value
    node = 0
    length = 1
    for part in path:
        found = _step(value, node, part)
        if found is None:
            break
        node, value, length = found
    mark = document.marks[2 * node]
    if not key or mark < 0:
        mark = document.marks[2 * node + 1]
        length = _length(value)
    return Position(path=document.path, line=(mark >> _SHIFT) + 1, column=(mark & _MASK) + 1, length=length)


def _step(value: Any, node: int, part: str) -> tuple[int, Any, int] | None:
    """The child of `value` (node number `node`) that one part of a path names: its node number, value, key length."""
    child = node + 1
    if isinstance(value, dict):
        for key, item in value.items():
            if key == part:
                return child, item, len(key)
            child += _size(item)
    elif isinstance(value, list) and part.startswith("["):
        label = part[1:-1]
        for index, item in enumerate(value):
            if label == str(index) or label == item_name(item):
                return child, item, 1
            child += _size(item)
    return None


def item_name(item: Any) -> str | None:
    """What names an item of a named list: `name`, `id`, or the server or agent of a tool; None where nothing does."""
    if not isinstance(item, dict):
        return None
    for field in ("name", "id"):
        if isinstance(item.get(field), str):
            return str(item[field])
    for field in ("mcpServer", "agent"):
        inner = item.get(field)
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            return f"{field}:{inner['name']}"
    return None


def _size(value: Any) -> int:
    """How many nodes `value` has, itself included. Depth is bounded by MAX_DEPTH."""
    if isinstance(value, dict):
        return 1 + sum(_size(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(_size(item) for item in value)
    return 1


def _length(value: Any) -> int:
    return max(1, len(value)) if isinstance(value, str) and "\n" not in value else 1


def snippet(data: bytes, line: int) -> str:
    """Line `line` (from 1) of a file for a person, cut to 200 characters."""
    lines = data.decode("utf-8", "replace").splitlines()
    return lines[line - 1][:MAX_SNIPPET] if 0 < line <= len(lines) else ""


def _diagnostic(path: str, data: bytes, refused: _Refused) -> Diagnostic:
    line, column = (refused.mark >> _SHIFT) + 1, (refused.mark & _MASK) + 1
    return Diagnostic(
        severity=Severity.ERROR,
        code=refused.code,
        message=refused.message,
        position=Position(path=path, line=line, column=column, length=refused.length),
        hint=refused.hint,
        snippet=snippet(data[:MAX_BYTES], line),
    )
