"""What must not be written into a file that goes into Git: values whose name says that they are secret.

May live here: finding them in environments and command lines. Must not: show any of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reconciler.spec.validate import looks_secret

_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9._-]*)(?:=(.*))?\Z", re.DOTALL)
_REFERENCE = re.compile(r"\$\([A-Za-z_][A-Za-z0-9_.-]*\)|\$\{?[A-Za-z_][A-Za-z0-9_]*\}?")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
"""A URL with a password in it."""
_ASSIGNED = re.compile(r"(?:^|[\s;&\"'])([A-Za-z_][A-Za-z0-9_.-]*)=([^\s;&\"']+)")


def secret_value(name: str, value: str) -> bool:
    """Whether a variable's literal value is not to be written down."""
    return bool(value) and (looks_secret(name) or _has_password(value))


def secret_words(words: Sequence[str]) -> bool:
    """Whether a command line holds a secret: `--api-key=...`, `--token ...`, `PASSWORD=...`, a URL with a password."""
    for index, word in enumerate(words):
        option = _OPTION.match(word)
        if option and looks_secret(option.group(1)):
            value = option.group(2)
            if value is None:
                value = words[index + 1] if index + 1 < len(words) else ""
                value = "" if value.startswith("-") else value
            if _is_literal(value):
                return True
        if any(looks_secret(name) and _is_literal(value) for name, value in _ASSIGNED.findall(word)):
            return True
        if _has_password(word):
            return True
    return False


def _has_password(text: str) -> bool:
    return any(not _REFERENCE.search(found.group()) for found in _ADDRESS.finditer(text))


def _is_literal(value: str) -> bool:
    """Whether a value is the secret itself: not a variable, not the path of a file, not a switch."""
    if not value or _REFERENCE.fullmatch(value) or value.startswith(("/", "./", "../", "~/")):
        return False
    return value.lower() not in {"true", "false", "none", "null"}
