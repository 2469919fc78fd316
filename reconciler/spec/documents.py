"""Documents from bytes: YAML through the C parser's events with an explicit stack, and positions of all that is read.

May live here: reading one file, its limits, and looking positions up. Must not: know kinds, templates or fleets.
Why events: composing recurses in C and dies at depth 200,000; a merge-key bomb takes seconds. Events are flat, so
each limit is checked before anything is built.

Positions are packed in preorder: two ints a node, `line << 21 | column` of its key (or -1) and of its value.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from sys import intern
from typing import Any

import yaml

from reconciler.model.identity import FieldPath
from reconciler.model.source import Blob, Diagnostic, Document, JsonObject, Position, Severity
from reconciler.spec.scalars import TELLING, plain

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 50_000
MAX_DOCUMENTS = 1_000
MAX_KEY = 253
MAX_SNIPPET = 200
LINK_MODE = "120000"
_SHIFT = 21
_MASK = (1 << _SHIFT) - 1
_STR_TAG = "tag:yaml.org,2002:str"
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_BREAK_BYTES = re.compile(rb"\r\n|[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""All but the printable characters of YAML 1.2.2, section 5.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one file may be. The default is for what people write."""

    bytes: int = MAX_BYTES
    nodes: int = MAX_NODES
    key: int = MAX_KEY


WRITTEN_BY_HAND = Limits()


class _Refused(Exception):
    def __init__(self, code: str, message: str, mark: int, hint: str = "", length: int = 1) -> None:
        super().__init__(message)
        self.code, self.message, self.mark, self.hint, self.length = code, message, mark, hint, length


def read_documents(
    path: str, blob: Blob, revision: str = "", *, limits: Limits = WRITTEN_BY_HAND
) -> tuple[tuple[Document, ...], tuple[Diagnostic, ...]]:
    """All mappings of one YAML file, and what is wrong with it.

    A file with any finding gives no documents: half a file is not what its author meant. Empty documents are left
    out; a file that holds none at all is a finding (`empty-file`). Never raises; bounded in time and memory.
    """
    try:
        text = _text(blob, limits)
        values = _Reader(text, limits).documents()
    except _Refused as refused:
        return (), (_diagnostic(path, blob.data, refused),)
    documents = tuple(
        Document(path=path, blob=blob.id, index=index, value=value, marks=marks, revision=revision)
        for index, (value, marks) in enumerate(values)
    )
    if not documents:
        return (), (_diagnostic(path, blob.data, _Refused("empty-file", "the file holds nothing", 0, _EMPTY_HINT)),)
    return documents, ()


_PLAIN_UTF8 = "save it as UTF-8 without a byte-order mark"
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16 or UTF-32"), (b"\xfe\xff", "UTF-16"))
_EMPTY_HINT = "agents that came from it stay as they are; delete the file to delete them"


def _text(blob: Blob, limits: Limits) -> str:
    if blob.mode == LINK_MODE:
        raise _Refused("symlink", "symbolic links are not followed", 0, "put what it leads to here")
    if len(blob.data) > limits.bytes:
        raise _Refused("file-too-large", f"the file has {len(blob.data)} bytes, {limits.bytes} are allowed", 0)
    for mark, name in _BYTE_ORDER_MARKS:
        if blob.data.startswith(mark):
            raise _Refused("not-utf8", f"the file begins with a byte-order mark of {name}", 0, _PLAIN_UTF8)
    try:
        text = blob.data.decode()
    except UnicodeDecodeError as error:
        at = _place(blob.data[: error.start].decode(), error.start)
        raise _Refused("not-utf8", f"byte 0x{blob.data[error.start]:02x} is not UTF-8", at, _PLAIN_UTF8) from None
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        message = f"the control character {forbidden.group()!r} cannot stand in YAML"
        raise _Refused(
            "control-character", message, _place(text, forbidden.start()), 'write it as "\\xNN" if it is meant'
        )
    return text


class _Reader:
    """One file's events, folded into values and marks.

    The open collection is kept in fields of its own, those around it on a stack: `_keys` is None for a list, `_key`
    the key whose value is awaited. Events come by the million, so each is one look-up and one short method.
    """

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._nodes = 0
        self._begin()

    def _begin(self) -> None:
        self._stack: list[tuple[Any, dict[str, int] | None, str | None, int, int, str | None]] = []
        self._value: Any = None
        self._keys: dict[str, int] | None = None
        self._key: str | None = None
        self._key_mark = -1
        self._start = 0
        self._anchor: str | None = None
        self._anchors: dict[str, tuple[Any, list[int]]] = {}
        self._marks: list[int] = []
        self._root: Any = None

    def documents(self) -> list[tuple[JsonObject, array[int]]]:
        try:
            return self._read()
        except yaml.MarkedYAMLError as error:
            raise _bad_yaml(error, self._text) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise _Refused("bad-yaml", str(error).partition("\n")[0] or "not YAML", 0) from None

    def _read(self) -> list[tuple[JsonObject, array[int]]]:
        parser = yaml.CSafeLoader(self._text)
        next_event, scalar_event, scalar = parser.get_event, yaml.ScalarEvent, self._scalar
        handlers: dict[type, Callable[[Any], None]] = {
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
        }
        found: list[tuple[JsonObject, array[int]]] = []
        count = 0
        try:
            while (event := next_event()) is not None:
                kind = type(event)
                if kind is scalar_event:
                    scalar(event)
                elif (handler := handlers.get(kind)) is not None:
                    handler(event)
                elif kind is yaml.DocumentStartEvent:
                    count += 1
                    if count > MAX_DOCUMENTS:
                        mark = _pack(event.start_mark)
                        raise _Refused("too-many-documents", f"more than {MAX_DOCUMENTS} documents", mark)
                    self._begin()
                elif kind is yaml.DocumentEndEvent and self._root is not None:
                    if type(self._root) is not dict:
                        raise _Refused(
                            "not-a-mapping", "a document is a mapping with apiVersion and kind", self._marks[1]
                        )
                    found.append((self._root, array("q", self._marks)))
        finally:
            parser.dispose()
        return found

    def _open(self, event: Any) -> None:
        mark = event.start_mark
        at = mark.line << _SHIFT | mark.column
        if event.tag is not None:
            raise _Refused("tag", f"the tag {event.tag[:60]} is not known here", at, "leave tags out")
        if len(self._stack) >= MAX_DEPTH:
            raise _Refused("too-deep", f"nested deeper than {MAX_DEPTH} levels", at)
        if self._keys is not None and self._key is None:
            raise _Refused("bad-key", "a key is text, not a list or mapping", at)
        is_map = type(event) is yaml.MappingStartEvent
        start = len(self._marks)
        value: Any = {} if is_map else []
        self._put(value, at)
        self._stack.append((self._value, self._keys, self._key, self._key_mark, self._start, self._anchor))
        self._value, self._keys, self._key = value, {} if is_map else None, None
        self._start, self._anchor = start, event.anchor

    def _close(self, _event: Any) -> None:
        if self._anchor:
            self._anchors[self._anchor] = (self._value, self._marks[self._start :])
        self._value, self._keys, self._key, self._key_mark, self._start, self._anchor = self._stack.pop()

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        at = mark.line << _SHIFT | mark.column
        tag: str | None = event.tag
        value: Any = event.value
        if tag is None:
            if event.implicit[0] and (not value or value[0] in TELLING):
                try:
                    value = plain(value)
                except ValueError as error:
                    raise _Refused("bad-number", str(error), at, length=len(value[:MAX_SNIPPET])) from None
        elif tag not in (_STR_TAG, "!"):
            raise _Refused("tag", f"the tag {tag[:60]} is not known here", at, "leave tags out, quote text")
        keys = self._keys
        if keys is not None and self._key is None:
            self._put_key(value, event, at, keys)
            return
        start = len(self._marks)
        self._put(value, at)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._marks[start:])

    def _put_key(self, value: Any, event: Any, at: int, keys: dict[str, int]) -> None:
        text: str = event.value
        if text == "<<" and event.implicit[0]:
            raise _Refused("merge-key", "merge keys (<<) are not read", at, "use a template and `extends`", 2)
        if type(value) is not str:
            raise _Refused("bad-key", f"the key {text[:40]!r} is not text", at, "quote it", max(1, len(text[:40])))
        if len(text) > self._limits.key:
            raise _Refused("bad-key", f"a key of {len(text)} characters; {self._limits.key} are allowed", at)
        if text in keys:
            line = (keys[text] >> _SHIFT) + 1
            message = f"the key {text[:60]!r} stands twice, first in line {line}"
            raise _Refused("duplicate-key", message, at, "keep one of them", max(1, len(text)))
        text = intern(text)
        keys[text] = at
        self._key, self._key_mark = text, at
        if event.anchor:
            self._anchors[event.anchor] = (text, [-1, at])

    def _alias(self, event: Any) -> None:
        at = _pack(event.start_mark)
        if self._keys is not None and self._key is None:
            raise _Refused("bad-key", "a key is text, not an alias", at)
        known = self._anchors.get(event.anchor)
        if known is None:
            message = f"*{event.anchor[:60]} is not set before it is used, or holds itself"
            raise _Refused("bad-alias", message, at)
        value, marks = known
        self._nodes += len(marks) // 2 - 1
        self._put(value, marks[1])
        self._marks += marks[2:]

    def _put(self, value: Any, at: int) -> None:
        """Put a value where one is awaited."""
        self._nodes += 1
        if self._nodes > self._limits.nodes:
            most = self._limits.nodes
            raise _Refused("too-many-nodes", f"more than {most} values in one file, aliases counted", at)
        into = self._value
        if self._keys is not None:
            into[self._key] = value
            self._key = None
            self._marks += (self._key_mark, at)
            return
        self._marks += (-1, at)
        if into is None:
            self._root = value
        else:
            into.append(value)


def _pack(mark: Any) -> int:
    line: int = mark.line
    column: int = mark.column
    return line << _SHIFT | column


def _place(text: str, offset: int) -> int:
    """The packed position of the character at `offset`."""
    before = text[:offset]
    lines = _BREAK.split(before)
    return len(lines) - 1 << _SHIFT | len(lines[-1])


def _bad_yaml(error: yaml.MarkedYAMLError, text: str) -> _Refused:
    """What libyaml says, where, and what to do about the mistakes that people make most."""
    said = str(error.problem or error.context or "not YAML")
    mark, begin = error.problem_mark or error.context_mark, error.context_mark
    hint = ""
    if "cannot start any token" in said and mark:
        sign = _BREAK.split(text)[mark.line][mark.column : mark.column + 1]
        said = "a tab cannot indent" if sign == "\t" else f"plain text cannot begin with {sign}"
        hint = "use spaces" if sign == "\t" else "quote it"
    elif "expected ':'" in said and begin:  # the end of what was taken for a key is told, its begin is meant
        mark, hint = begin, "a key ends with a colon and a space"
    elif said == "did not find expected key" and begin:
        hint = f"keys of one mapping stand in one column; this one begins in line {begin.line + 1}"
    elif said.startswith("mapping values are not allowed"):
        hint = "quote a text that has a colon in it, and begin keys of one mapping in one column"
    elif "expected ','" in said and begin:
        hint = f"what is open here begins in line {begin.line + 1}"
    return _Refused("bad-yaml", said, _pack(mark) if mark else 0, hint)


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
    """What names an item of a named list: `id`, `name`, or the server or agent of a tool; None where nothing does."""
    if not isinstance(item, dict):
        return None
    for field in ("id", "name"):
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
    starts = _starts(data)
    if not 0 < line <= len(starts):
        return ""
    start = starts[line - 1]
    text = data[start : start + 4 * MAX_SNIPPET].decode("utf-8", "replace")  # a character has four bytes at most
    return _BREAK.split(text, maxsplit=1)[0][:MAX_SNIPPET]


@lru_cache(maxsize=4)
def _starts(data: bytes) -> array[int]:
    """Where the lines of a file begin, in bytes. Kept for a few files: many findings quote lines of one."""
    return array("L", chain((0,), (found.end() for found in _BREAK_BYTES.finditer(data))))


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
