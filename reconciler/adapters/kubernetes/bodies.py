"""What is sent to be applied: JSON that a reader of YAML takes for the same.

May live here: the encoding of bodies. API servers read an apply as YAML, whatever is sent: there an unescaped control
character is an error, and an unescaped end of a line, of which YAML knows more than JSON, is folded to a space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_UNLIKE = re.compile(
    b"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]|\xef\xbb\xbf|\xef\xbf[\xbe\xbf]"
)  # U+007F to U+009F, U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF: in JSON they stand inside of texts alone


def apply_body(body: Mapping[str, Any]) -> bytes:
    """The bytes of a body: what YAML would read otherwise is written as an escape, which both read alike."""
    return _UNLIKE.sub(_escaped, msgspec.json.encode(dict(body)))


def _escaped(found: re.Match[bytes]) -> bytes:
    return f"\\u{ord(found.group().decode()):04x}".encode()
