"""Templates of what an alert route says: the fields that there are, and whether a template is one.

A template names fields and nothing else: `$name` or `${name}`, `$$` for a dollar. Nothing in it is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

FIELDS: Mapping[str, str] = {
    "status": "`firing`, or `resolved` where nothing of the group is active any more",
    "fleet": "the fleet's name",
    "route": "the route's name",
    "severity": "the worst of the group",
    "count": "how many alerts are active, or were",
    "name": "what kind of alert it is, of several the first",
    "agent": "the agent of the first alert, and how many more there are",
    "namespace": "the namespace of the first alert",
    "cluster": "the cluster of the first alert",
    "summary": "what the first alert says",
    "alerts": "all alerts, one a line",
}
MAX_TEMPLATE = 8192
_NAMES = "|".join(FIELDS)
TEMPLATE_PATTERN = rf"^([^$]|\$\$|\$({_NAMES})(?![A-Za-z0-9_])|\$\{{({_NAMES})\}})*$"
"""What `check_template` takes, for JSON Schemas."""


def check_template(text: str) -> str:
    """The template. Raises ValueError where it is none, or names a field that there is not."""
    template = Template(text)
    if not template.is_valid():
        raise ValueError("a '$' names no field (write $$ for a dollar)")
    unknown = sorted(set(template.get_identifiers()) - FIELDS.keys())
    if unknown:
        raise ValueError(f"there is no field '{unknown[0][:40]}'; there are {', '.join(FIELDS)}")
    return text


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its fields filled in; what it names beside them stays as it is."""
    return Template(template).safe_substitute(values)
