"""The agent's container: command, environment, resources, probes.

May live here: what one container says, as fields of an agent. Must not: know Services or the Deployment around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.importing.notes import Draft
from reconciler.importing.reading import mapping, maps, text, texts, whole
from reconciler.importing.secrets import secret_value, secret_words
from reconciler.model.units import Duration
from reconciler.render.configmap import MODEL_KEY_ENV

Container = Mapping[str, Any]

OWN_ENV = frozenset({"AGENT_NAME", "AGENT_NAMESPACE", "AGENT_CONFIG", "AGENT_CARD"})
"""What every agent finds in its environment."""
_HANDLED = frozenset(
    {
        "name", "image", "command", "args", "env", "envFrom", "ports", "resources", "readinessProbe", "livenessProbe",
        "startupProbe", "volumeMounts", "securityContext", "lifecycle", "terminationMessagePath",
        "terminationMessagePolicy", "imagePullPolicy",
    }
)  # fmt: skip
_PROBES = {"startupProbe": "startup", "readinessProbe": "readiness", "livenessProbe": "liveness"}
_DEFAULTS = {"period": "10s", "timeout": "1s", "initialDelay": "0s", "failureThreshold": 3, "successThreshold": 1}


def fill(draft: Draft, container: Container, path: str, *, own: Mapping[str, str]) -> None:
    """Put what a container says into a draft. `own` are variables that the agent gets by itself, with their values."""
    draft.say(image=text(container.get("image")))
    _command(draft, container, path)
    draft.say(env=_environment(draft, container, path, own))
    draft.say(resources=_resources(draft, container, path), probes=_probes(draft, container, path))
    if container.get("imagePullPolicy") in ("Always", "Never"):
        draft.left(f"{path}.imagePullPolicy", f"{container['imagePullPolicy']}; an agent does not say it")
    for key in sorted(container.keys() - _HANDLED):
        if container[key] not in (None, False, "", [], {}):
            draft.left(f"{path}.{key}", "an agent has no field for it")


def _command(draft: Draft, container: Container, path: str) -> None:
    words = {key: texts(container.get(key) or []) for key in ("command", "args")}
    if secret_words([*(words["command"] or ()), *(words["args"] or ())]):
        hint = "take the secret out of the command line: a variable with a secret reference, and $(NAME) here"
        draft.left(f"{path}.args", f"the command line holds what looks secret, so it is not written; {hint}")
        return
    for key, found in words.items():
        if found is None:
            draft.left(f"{path}.{key}", "it is no list of texts")
        else:
            draft.say(**{key: found})


def _environment(draft: Draft, container: Container, path: str, own: Mapping[str, str]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in maps(container.get("env")):
        name = text(entry.get("name"))
        made = _variable(draft, entry, name, f"{path}.env[{name}]")
        found.pop(name, None)
        if made is not None and not (name in own and made.get("value") == own[name]):
            found[name] = made
    for source in maps(container.get("envFrom")):
        reference = mapping(source.get("configMapRef")) or mapping(source.get("secretRef"))
        kind = "ConfigMap" if "configMapRef" in source else "Secret"
        draft.left(
            f"{path}.envFrom",
            f"all of {kind} {text(reference.get('name'))}; name the variables that are needed in `env`",
        )
    return list(found.values())


def _variable(draft: Draft, entry: Mapping[str, Any], name: str, path: str) -> dict[str, Any] | None:
    source = mapping(entry.get("valueFrom"))
    if not source:
        value = text(entry.get("value"))
        if secret_value(name, value):
            key = name.lower().replace("_", "-")
            advice = (
                f"its literal value looks secret and is not written: keep it in a Secret, and say "
                f"env: [{{name: {name}, secret: {{name: {draft.name.name}, key: {key}}}}}]"
            )
            draft.left(path, advice)
            return None
        return {"name": name, "value": value}
    secret = mapping(source.get("secretKeyRef"))
    reference = {key: text(secret.get(key)) for key in ("name", "key")}
    if secret and not secret.get("optional") and all(reference.values()):
        if name == MODEL_KEY_ENV:
            draft.model_secret = reference
        return {"name": name, "secret": reference}
    kind = next(iter(sorted(source)), "nothing")
    advice = "an optional secret" if secret else f"a value from {kind}"
    draft.left(path, f"{advice}; an agent says values and keys of Secrets")
    return None


def _resources(draft: Draft, container: Container, path: str) -> dict[str, Any]:
    given = mapping(container.get("resources"))
    if given.get("claims"):
        draft.left(f"{path}.resources.claims", "an agent says amounts only")
    result: dict[str, Any] = {}
    for part in ("requests", "limits"):
        amounts = {
            name: str(amount)
            for name, amount in mapping(given.get(part)).items()
            if isinstance(amount, str | int | float) and not isinstance(amount, bool)
        }
        if amounts:
            result[part] = amounts
    return result


def _probes(draft: Draft, container: Container, path: str) -> dict[str, Any]:
    found = {}
    for key, name in _PROBES.items():
        probe = mapping(container.get(key))
        made = _probe(draft, probe, f"{path}.{key}") if probe else None
        if made is not None:
            found[name] = made
    return found


def _probe(draft: Draft, probe: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    target = _target(draft, probe, path)
    if target is None:
        draft.left(path, "an agent's probes are http, tcp, grpc or exec")
        return None
    if probe.get("terminationGracePeriodSeconds") is not None:
        draft.left(f"{path}.terminationGracePeriodSeconds", "an agent has one grace for all, in `rollout`")
    numbers = {
        "period": _span(probe.get("periodSeconds")),
        "timeout": _span(probe.get("timeoutSeconds")),
        "initialDelay": _span(probe.get("initialDelaySeconds")),
        "failureThreshold": whole(probe.get("failureThreshold")),
        "successThreshold": whole(probe.get("successThreshold")),
    }
    return target | {key: value for key, value in numbers.items() if value and value != _DEFAULTS[key]}


def _target(draft: Draft, probe: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    http, tcp, grpc = (mapping(probe.get(key)) for key in ("httpGet", "tcpSocket", "grpc"))
    for handler in (http, tcp):
        for key in sorted({"host", "httpHeaders"} & handler.keys()):
            draft.left(f"{path}.{key}", "an agent's probes ask the pod itself, without headers")
    if http:
        made: dict[str, Any] = {"path": text(http.get("path")) or "/", "port": http.get("port")}
        if http.get("scheme") not in (None, "", "HTTP"):
            made["scheme"] = http["scheme"]
        return {"http": made}
    if tcp:
        return {"tcp": {"port": tcp.get("port")}}
    if grpc:
        service = text(grpc.get("service"))
        return {"grpc": {"port": grpc.get("port"), **({"service": service} if service else {})}}
    command = texts(mapping(probe.get("exec")).get("command"))
    return {"exec": {"command": command}} if command and not secret_words(command) else None


def _span(seconds: Any) -> str:
    number = whole(seconds)
    return span(number) if number is not None else ""


def span(seconds: int) -> str:
    """A number of seconds as a duration that people read."""
    return Duration.of_ms(seconds * 1000).text if seconds else "0s"
