"""Agents of kagent (kagent.dev/v1alpha2), as agents of ours.

May live here: the fields of kagent's Agent and ModelConfig. Must not: know how its controller makes pods of them, but
for where they listen.

Source: the API types of kagent v0.9, and the pods that its controller makes: port 8080, ready when the card is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.importing.container import fill
from reconciler.importing.families import Family, model_name
from reconciler.importing.notes import Draft
from reconciler.importing.reading import mapping, maps, strings, text, texts, whole
from reconciler.importing.secrets import secret_value
from reconciler.spec.validate import looks_secret

Body = Mapping[str, Any]

_PROVIDERS: Mapping[str, str] = {
    "Anthropic": "anthropic",
    "AnthropicVertexAI": "anthropic-vertexai",
    "AzureOpenAI": "azure-openai",
    "Bedrock": "bedrock",
    "Foundry": "foundry",
    "Gemini": "gemini",
    "GeminiVertexAI": "gemini-vertexai",
    "Ollama": "ollama",
    "OpenAI": "openai",
    "SAPAICore": "sap-ai-core",
}
_SECTIONS: Mapping[str, str] = {"SAPAICore": "sapAICore"}
"""Where a provider's settings stand, if not under its name with a small first letter."""
_ADDRESSES = ("baseUrl", "azureEndpoint", "endpoint", "host")
_DEPLOYMENT_HANDLED = frozenset(
    {"replicas", "image", "cmd", "args", "env", "resources", "labels", "serviceAccountName"}
)
_MEANING = frozenset({"systemMessage", "modelConfig", "tools", "a2aConfig", "deployment", "description"})
PORT = 8080
CARD_PATH = "/.well-known/agent-card.json"


def fill_from_agent(draft: Draft, family: Family) -> None:
    """Put what an Agent of kagent means into a draft."""
    spec = mapping(family.agent.body if family.agent else {}, "spec")
    declarative = mapping(spec, "declarative")
    draft.say(
        description=text(spec.get("description")) or text(declarative.get("description")).strip(),
        systemMessage=text(declarative.get("systemMessage")),
        tools=_tools(draft, declarative),
        skills=_skills(draft, declarative),
    )
    if declarative:
        draft.say(modelConfig=_model(draft, family))
    for key in sorted(declarative.keys() - _MEANING):
        if declarative[key] not in (None, False, {}, [], ""):
            draft.left(f"Agent spec.declarative.{key}", _WHY.get(key, "an agent has no field for it"))
    for key in sorted(spec.keys() - {"type", "declarative", "byo", "description"}):
        draft.left(f"Agent spec.{key}", _WHY.get(key, "an agent has no field for it"))


_WHY: Mapping[str, str] = {
    "systemMessageFrom": "say the text itself in `systemMessage`",
    "skills": "images and repositories with skills for kagent's runtime; put them into the agent's image",
    "allowedNamespaces": "agents of a fleet may name each other",
}


def fill_from_wish(draft: Draft, family: Family, *, templates: bool) -> None:
    """Put what an Agent of kagent says of its pods into a draft, where no Deployment is there to say it.

    With `templates` those say where it listens.
    """
    spec = mapping(family.agent.body if family.agent else {}, "spec")
    kind = "byo" if spec.get("byo") else "declarative"
    path = f"Agent spec.{kind}.deployment"
    wish = mapping(spec, kind, "deployment")
    command = text(wish.get("cmd"))
    container = {
        "image": wish.get("image"),
        "command": [command] if command else [],
        **{key: wish[key] for key in ("args", "env", "resources") if key in wish},
    }
    fill(draft, container, path, own={})
    count = whole(wish.get("replicas"))
    draft.spec["replicas"] = 1 if count is None else count
    if not templates:
        draft.spec["ports"] = [{"name": "http", "port": PORT}]
        draft.spec["probes"] = {"readiness": {"http": {"path": CARD_PATH, "port": "http"}}}
    draft.labels |= strings(wish.get("labels"))
    if account := text(wish.get("serviceAccountName")):
        draft.spec["deployment"] = {"serviceAccount": account}
    for key in sorted(wish.keys() - _DEPLOYMENT_HANDLED):
        if wish[key] not in (None, "", [], {}, False):
            draft.left(f"{path}.{key}", "an agent has no field for it")


def _tools(draft: Draft, declarative: Body) -> list[dict[str, Any]]:
    found = []
    for index, tool in enumerate(maps(declarative.get("tools"))):
        path = f"Agent spec.declarative.tools[{index}]"
        server, other = mapping(tool, "mcpServer"), mapping(tool, "agent")
        if tool.get("headersFrom"):
            draft.left(f"{path}.headersFrom", "an agent's tools have no headers")
        if server:
            found.append(_server(draft, server, path))
        elif other:
            namespace = text(other.get("namespace")) or draft.name.namespace
            name = text(other.get("name"))
            found.append({"agent": {"name": name if namespace == draft.name.namespace else f"{namespace}/{name}"}})
        else:
            draft.left(path, "an agent's tools are those of MCP servers, and other agents")
    return found


def _server(draft: Draft, server: Body, path: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": text(server.get("name"))}
    if names := texts(server.get("toolNames")):
        made["toolNames"] = names
    if text(server.get("namespace")) not in ("", draft.name.namespace):
        text_ = f"the server is in {server['namespace']}; where its name does not lead there, say its `url`"
        draft.left(f"{path}.mcpServer.namespace", text_)
    if server.get("allowedHeaders"):
        draft.left(f"{path}.mcpServer.allowedHeaders", "an agent's tools have no headers")
    approval = texts(server.get("requireApproval"))
    return {"mcpServer": made, **({"requireApproval": approval} if approval else {})}


def _skills(draft: Draft, declarative: Body) -> list[dict[str, Any]]:
    found = []
    for index, skill in enumerate(maps(mapping(declarative, "a2aConfig").get("skills"))):
        made: dict[str, Any] = {key: text(skill.get(key)) for key in ("id", "name", "description")}
        made["tags"] = texts(skill.get("tags")) or []
        if examples := texts(skill.get("examples")):
            made["examples"] = examples
        found.append(made)
        for key in ("inputModes", "outputModes"):
            if skill.get(key):
                draft.left(f"Agent spec.declarative.a2aConfig.skills[{index}].{key}", "a card says text alone")
    return found


def _model(draft: Draft, family: Family) -> dict[str, Any]:
    if family.agent is None:
        return {}
    name = model_name(family.agent)
    if family.model is None:
        where = f"kubectl get modelconfigs.kagent.dev {name} -n {draft.name.namespace} -o yaml"
        draft.left("Agent spec.declarative.modelConfig", f"{name} was not among what was read; give it too: {where}")
        return {}
    spec = mapping(family.model.body, "spec")
    provider = text(spec.get("provider")) or "OpenAI"
    made: dict[str, Any] = {
        "provider": _PROVIDERS.get(provider, provider.lower()),
        "model": text(spec.get("model")),
    }
    if text(spec.get("apiKeySecret")) and text(spec.get("apiKeySecretKey")):
        made["secret"] = {"name": spec["apiKeySecret"], "key": spec["apiKeySecretKey"]}
    section = _SECTIONS.get(provider, provider[:1].lower() + provider[1:])
    own = mapping(spec.get(section))
    parameters: dict[str, Any] = {}
    for key, value in own.items():
        if looks_secret(key) or (isinstance(value, str) and secret_value("", value)):
            draft.left(f"ModelConfig spec.{section}.{key}", "it looks secret, and is not written")
        elif key in _ADDRESSES and isinstance(value, str):
            made["baseUrl"] = value
        else:
            parameters[key] = value
    if parameters:
        made["parameters"] = parameters
    handled = {"provider", "model", "apiKeySecret", "apiKeySecretKey", section}
    for key in sorted(spec.keys() - handled):
        if spec[key] not in (None, False, {}, [], ""):
            draft.left(f"ModelConfig spec.{key}", "an agent's model has no field for it")
    return made
