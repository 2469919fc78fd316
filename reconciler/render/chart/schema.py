"""The chart's values.schema.json: what installers may set, so that Helm refuses what the templates cannot use.

May live here: the shape of values.yaml. Draft 7, which Helm 3 and 4 both judge by. What Kubernetes defines (probes,
tolerations, metrics) is left for its API server to judge.
"""

from __future__ import annotations

from typing import Any

DRAFT = "http://json-schema.org/draft-07/schema#"
_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_ANYTHING: dict[str, Any] = {"type": "object"}
_OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_STRINGS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
_LIST: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_SERVICE_TYPES = ["", "ClusterIP", "NodePort", "LoadBalancer"]
_PERCENT: dict[str, Any] = {"type": "string", "pattern": "^[0-9]+%$"}
_COUNT_OR_PERCENT: dict[str, Any] = {"anyOf": [_COUNT, _PERCENT]}
_NAME: dict[str, Any] = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
_OWN_NAME: dict[str, Any] = {"anyOf": [{"const": ""}, _NAME]}
_JSON_TEXT: dict[str, Any] = {"type": "string", "description": "A JSON object, as text."}


def _object(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        shape["required"] = list(required)
    return shape


def _or_none(shape: dict[str, Any]) -> dict[str, Any]:
    """`shape`, or {}: not there at all."""
    return {"anyOf": [{"type": "object", "maxProperties": 0}, shape]}


_SECRET = _or_none(_object(("name", "key"), name=_TEXT, key=_TEXT))
_MODEL = _or_none(
    _object(("provider", "model"), provider=_TEXT, model=_TEXT, baseUrl=_TEXT, secret=_SECRET, parameters=_JSON_TEXT)
)
_ENV = {"type": "array", "items": _object(("name",), name=_TEXT, value=_TEXT, valueFrom=_ANYTHING)}
_PORT = _object(
    ("name", "port"),
    name={"type": "string", "minLength": 1, "maxLength": 15},
    port={"type": "integer", "minimum": 1, "maximum": 65535},
    protocol={"enum": ["TCP", "UDP"]},
    servicePort={"type": "integer", "minimum": 1, "maximum": 65535},
)
_SKILL = _object(
    ("id", "name", "description", "tags"), id=_TEXT, name=_TEXT, description=_TEXT, tags=_LIST, examples=_LIST
)


def _identity() -> dict[str, Any]:
    return {
        "nameOverride": _OWN_NAME,
        "fleet": {"type": "string", "minLength": 1},
        "tracking": _FLAG,
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "podLabels": _STRINGS,
        "podAnnotations": _STRINGS,
        "enabled": {"type": "boolean", "description": "For a chart above, as the condition of this part of it."},
        "global": {"description": "What a chart above gives to all of its parts."},
    }


def _process() -> dict[str, Any]:
    return {
        "image": _object(
            ("repository",),
            repository={"type": "string", "minLength": 1},
            tag=_TEXT,
            digest=_TEXT,
            pullPolicy={"enum": ["", "Always", "IfNotPresent", "Never"]},
        ),
        "imagePullSecrets": _OBJECTS,
        "command": _LIST,
        "args": _LIST,
        "env": _ENV,
        "extraEnv": _ENV,
        "ports": {"type": "array", "items": _PORT},
        "service": _object(type={"enum": _SERVICE_TYPES}, annotations=_STRINGS, export=_FLAG),
        "resources": _object(requests=_ANYTHING, limits=_ANYTHING, claims=_OBJECTS),
        "startupProbe": _ANYTHING,
        "readinessProbe": _ANYTHING,
        "livenessProbe": _ANYTHING,
        "drainSeconds": _COUNT,
        "terminationGracePeriodSeconds": _COUNT,
    }


def _told() -> dict[str, Any]:
    return {
        "description": _TEXT,
        "systemMessage": _TEXT,
        "modelConfig": _MODEL,
        "tools": _OBJECTS,
        "skills": {"type": "array", "items": _SKILL},
        "config": _JSON_TEXT,
        "configOverrides": _ANYTHING,
    }


def _running() -> dict[str, Any]:
    at_least_one = {"type": "integer", "minimum": 1}
    return {
        "replicaCount": _COUNT,
        "autoscaling": _object(
            ("enabled",),
            enabled=_FLAG,
            minReplicas=at_least_one,
            maxReplicas=at_least_one,
            metrics=_OBJECTS,
            behavior=_ANYTHING,
        ),
        "podDisruptionBudget": _object(
            ("enabled",),
            enabled=_FLAG,
            minAvailable={"anyOf": [{"const": ""}, *_COUNT_OR_PERCENT["anyOf"]]},
            maxUnavailable=_COUNT_OR_PERCENT,
        ),
        "rollingUpdate": _object(maxSurge=_COUNT_OR_PERCENT, maxUnavailable=_COUNT_OR_PERCENT),
        "minReadySeconds": _COUNT,
        "progressDeadlineSeconds": at_least_one,
        "revisionHistoryLimit": _COUNT,
        "serviceAccount": _object(("create",), create=_FLAG, name=_TEXT, annotations=_STRINGS),
        "deployment": _object(selector=_STRINGS, container=_OWN_NAME, runAsUser=at_least_one, asFound=_FLAG),
        "nodeSelector": _STRINGS,
        "tolerations": _OBJECTS,
        "affinity": _ANYTHING,
        "priorityClassName": _TEXT,
    }


def values_schema() -> dict[str, Any]:
    """The schema, the same for every agent."""
    return {
        "$schema": DRAFT,
        "title": "Values",
        **_object(**_identity(), **_process(), **_told(), **_running()),
    }
