"""Kubernetes label selectors, as kubectl's `-l` takes them: requirements, and the same as an expression."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.model.query import And, Comparator, Compare, Exists, Expression, Not, OneOf, QueryError
from reconciler.query.paths import joined

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)?\s*(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]{0,316})"
    r"(?:\s*(?P<operator>==|=|!=)\s*(?P<value>[A-Za-z0-9][-A-Za-z0-9_.]{0,62})?"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]{0,2000})\))?)\s*\Z"
)
MAX_SELECTOR = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One part of a label selector; `values` empty asks whether the key is there at all."""

    key: str
    values: frozenset[str]
    negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet it, as Kubernetes decides: `!=` and `notin` also hold where the key is missing."""
        found = labels.get(self.key) in self.values if self.values else self.key in labels
        return found is not self.negated

    def expression(self) -> Expression:
        """The same, asked of a registry."""
        path = joined(("labels", self.key))
        found: Expression
        if not self.values:
            found = Exists(path)
        elif len(self.values) == 1:
            found = Compare(path, Comparator.EQUAL, next(iter(self.values)))
        else:
            found = OneOf(path, tuple(sorted(self.values)))
        return Not(found) if self.negated else found


def read_selector(text: str) -> tuple[Requirement, ...]:
    """Read a label selector: `a=b,c!=d,e in (f, g),h notin (i),j,!k`. Raises QueryError with the place."""
    if len(text) > MAX_SELECTOR:
        raise QueryError(f"text of {len(text)} characters is not a label selector: at most {MAX_SELECTOR}")
    requirements, start = [], 0
    for part in re.split(r",(?![^()]*\))", text):
        match = _REQUIREMENT.match(part)
        if match is None or (match["absent"] and (match["operator"] or match["set"])):
            raise QueryError(
                "this is not a label selector",
                text=text,
                start=start + len(part) - len(part.lstrip()),
                length=len(part.strip()),
                hint="like: team=support,tier!=test,env in (a, b)",
            )
        start += len(part) + 1
        values = frozenset(value.strip() for value in match["values"].split(",")) if match["set"] else frozenset()
        if match["operator"]:
            values = frozenset({match["value"] or ""})
        negated = bool(match["absent"]) or match["operator"] == "!=" or match["set"] == "notin"
        requirements.append(Requirement(key=match["key"], values=values, negated=negated))
    return tuple(requirements)


def selecting(requirements: Iterable[Requirement]) -> And:
    """All of some requirements."""
    return And(tuple(requirement.expression() for requirement in requirements))
