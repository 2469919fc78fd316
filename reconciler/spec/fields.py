"""Field types of the authoring models: what one value may be, as validator and as JSON Schema pattern at once.

May live here: constrained strings and numbers, durations, quantities, percentages. Each type states its pattern once,
so that the schema in the editor and the model never disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from reconciler.model.alerttext import MAX_TEMPLATE, TEMPLATE_PATTERN, check_template
from reconciler.model.units import DURATION_PATTERN, MAX_TEXT, PERCENT_PATTERN, QUANTITY_PATTERN, Duration, Quantity

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
PORT_NAME = r"^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$"
"""With a letter, and no two hyphens in a row: else it could be taken for a number."""
PATH_SEGMENT = r"^([^./%][^/%]*|\.[^./%][^/%]*|\.\.[^/%]+)$"
"""What may stand in an address between two slashes."""
LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
"""A domain, and a name of at most 63 characters."""
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
REFERENCE = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
_KEY_OF_SECRET = r"^[A-Za-z0-9_-][-._A-Za-z0-9]*$"  # noqa: S105 - a pattern
URL = r"^https?://[^\s]+$"
MAX_REPLICAS = 10_000


class Model(BaseModel):
    """Base of all authoring models: frozen, closed, camel case outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False, protected_namespaces=()
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: it is frozen. Pydantic copies the defaults of fields, which is a tenth of resolving an agent."""
        return self


def _checked(code: str, parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise PydanticCustomError(code, "{problem}", {"problem": str(error)}) from None
        return text

    return AfterValidator(check)


def _percent(text: str) -> int:
    number = int(text[:-1]) if text.endswith("%") and text[:-1].isascii() and text[:-1].isdigit() else -1
    if not 0 <= number <= 100 or str(number) != text[:-1]:
        raise ValueError(f"{text[:40]!r} is not a percentage (like 70%)")
    return number


def percent(text: str) -> int:
    """The number of a validated percentage."""
    return int(text[:-1])


def text(pattern: str, most: int, *, least: int = 1) -> Any:
    """A string type of bounded length that matches `pattern`."""
    return Annotated[StrictStr, Field(pattern=pattern, min_length=least, max_length=most)]


def _patterned(pattern: str, most: int = MAX_TEXT) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": most})


DurationText = Annotated[StrictStr, _checked("bad_duration", Duration.parse), _patterned(DURATION_PATTERN)]
QuantityText = Annotated[StrictStr, _checked("bad_quantity", Quantity.parse), _patterned(QUANTITY_PATTERN)]
PercentText = Annotated[StrictStr, _checked("bad_percent", _percent), _patterned(PERCENT_PATTERN, 4)]
CountOrPercent = Annotated[StrictInt, Field(ge=0, le=MAX_REPLICAS)] | PercentText

AgentNameText = Annotated[StrictStr, Field(pattern=DNS_LABEL, min_length=1, max_length=50)]
Label = Annotated[StrictStr, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]
ReferenceText = Annotated[StrictStr, Field(pattern=REFERENCE, min_length=1, max_length=127)]
EnvName = Annotated[StrictStr, Field(pattern=ENV_NAME, min_length=1, max_length=253)]
ObjectName = Annotated[StrictStr, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
SecretKey = Annotated[StrictStr, Field(pattern=_KEY_OF_SECRET, min_length=1, max_length=253)]
PortName = Annotated[StrictStr, Field(pattern=PORT_NAME, min_length=1, max_length=15)]
LabelKey = Annotated[StrictStr, Field(pattern=LABEL_KEY, min_length=1, max_length=253)]
LabelValue = Annotated[StrictStr, Field(pattern=LABEL_VALUE, max_length=63)]
Labels = dict[LabelKey, LabelValue]
Url = Annotated[StrictStr, Field(pattern=URL, max_length=2048)]
Line = Annotated[StrictStr, Field(min_length=1, max_length=1024)]
Segment = Annotated[StrictStr, Field(pattern=PATH_SEGMENT, min_length=1, max_length=1024)]
Text = Annotated[StrictStr, Field(max_length=262_144)]
TemplateText = Annotated[
    StrictStr,
    Field(max_length=MAX_TEMPLATE),
    _checked("bad_template", check_template),
    _patterned(TEMPLATE_PATTERN, MAX_TEMPLATE),
]
PortNumber = Annotated[StrictInt, Field(ge=1, le=65535)]
PortReference = PortNumber | PortName
UserNumber = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
"""Not that of root."""
Threshold = Annotated[StrictInt, Field(ge=1, le=1000)]
Replicas = Annotated[StrictInt, Field(ge=0, le=MAX_REPLICAS)]
Weight = Annotated[StrictInt, Field(ge=0, le=1000)]
Flag = StrictBool
TIME_OF_DAY = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
TIME_ZONE = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$"
TimeOfDay = Annotated[StrictStr, Field(pattern=TIME_OF_DAY)]


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(f"no time zone {name!r} is known here; they are named like Europe/Berlin or UTC") from None


TimeZone = Annotated[StrictStr, Field(pattern=TIME_ZONE, max_length=64), _checked("bad_timezone", _zone)]


_LABEL = re.compile(DNS_LABEL[:-1] + r"\Z", re.ASCII)


def is_label(name: str) -> bool:
    """Whether a name or namespace is one that Kubernetes takes."""
    return len(name) <= 63 and bool(_LABEL.match(name))


def exactly_one(model: BaseModel, fields: tuple[str, ...], what: str) -> None:
    """Raise a teaching error unless exactly one of `fields` is set: `one_of_none` or `one_of_many`."""
    given = sum(getattr(model, name) is not None for name in fields)
    if given != 1:
        names = ", ".join(to_camel(name) for name in fields)
        kind = "one_of_many" if given else "one_of_none"
        raise PydanticCustomError(kind, "{what} takes exactly one of {names}", {"what": what, "names": names})


def at_least_one(model: BaseModel, fields: tuple[str, ...], what: str) -> None:
    """Raise `one_of_none` unless one or several of `fields` are set."""
    if all(getattr(model, name) is None for name in fields):
        names = ", ".join(to_camel(name) for name in fields)
        raise PydanticCustomError(
            "one_of_none", "{what} takes one or several of {names}", {"what": what, "names": names}
        )


ONE_NEEDED = "x-one-needed"
"""Where a schema that is still raw keeps what a file must say that no template completes."""


def one_of_schema(fields: tuple[str, ...]) -> ConfigDict:
    """The half of `exactly_one` that one file can be judged by, for the JSON Schema: not two of them.

    That one is there at all may be a template's part; null takes a template's choice back.
    """
    names = [to_camel(name) for name in fields]
    given = {"not": {"type": "null"}}
    pairs: list[Any] = [
        {"required": [one, two], "properties": {one: given, two: given}}
        for index, one in enumerate(names)
        for two in names[index + 1 :]
    ]
    some: list[Any] = [{"required": [name], "properties": {name: given}} for name in names]
    return ConfigDict(json_schema_extra={"not": {"anyOf": pairs}, ONE_NEEDED: some})
