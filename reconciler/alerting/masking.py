"""Taking secrets out of texts that come from the world: an agent's last log lines, an error of a server.

Two ways, both: values that the fleet itself declares and that look secret, letter by letter; and what has the form of a
secret in any text. The second is a net with holes: who prints secrets should stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reconciler.model.agent import Agent
from reconciler.model.plan import Masked
from reconciler.spec.documents import item_name
from reconciler.spec.validate import texts_of

LEAST = 4
"""Letters from which on a declared value is a secret and no coincidence."""
LOOKED_AT = 8_000
"""Letters of a text that are looked at; the rest of a longer one is not passed on."""
_MASK = str(Masked.SENSITIVE)
_NAMED = re.compile(
    r"""(?ix) ( (?:token|secret|password|passwd|api[-_]?key|access[-_]?key|private[-_]?key) s?
        ["']? \s* [:=] \s* ) (?: "[^"]*" | '[^']*' | [^\s,;"'&]+ )"""
)
_FORMS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + _MASK),
    # a scheme is looked for in so many letters before the colon and no more: a long text of dots would take seconds
    # and to the last @ before the path: people write passwords with one in them as they are
    (re.compile(r"""(?i)([a-z][a-z0-9+.-]{0,30}://)[^/\s?#"'<>]+@"""), r"\1" + _MASK + "@"),
    (re.compile(r"\b(?:sk|pk|rk|gh[opsu]|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{10,}"), _MASK),
    (re.compile(r"\bAKIA[A-Z0-9]{16}\b"), _MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), _MASK),
    (re.compile(r"https://hooks\.slack\.com/[^\s\"']+"), _MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _MASK),
)


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without the given secrets, and without what looks like one."""
    text = text[:LOOKED_AT]
    for secret in sorted({one for one in secrets if len(one) >= LEAST}, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return _NAMED.sub(lambda found: found.group(1) + _MASK, text)


def secrets_of(agent: Agent) -> frozenset[str]:
    """The values that an agent declares as they are and that look secret."""
    return frozenset(value for path in agent.sensitive for value in texts_of(_at(agent.document, path)))


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path of a document, where `[name]` is a list's entry, by name or number; None for nothing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, (list, tuple)):
            label = step.strip("[]")
            value = next((one for index, one in enumerate(value) if label in (item_name(one), str(index))), None)
        else:
            return None
    return value
