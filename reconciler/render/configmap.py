"""The ConfigMap: what an agent is told of itself (`agent.json`) and what it shows to others (`agent-card.json`)."""

from __future__ import annotations

from typing import Any

from reconciler.model.agent import Agent, Skill, Tool
from reconciler.render.canonical import digest, pretty
from reconciler.render.metadata import Names, version_of
from reconciler.render.service import service_url, serving_port

AGENT_FILE = "agent.json"
CARD_FILE = "agent-card.json"
MODEL_KEY_ENV = "MODEL_API_KEY"
A2A_VERSION = "1.0"


def config_map(names: Names, agent: Agent) -> tuple[dict[str, Any], str]:
    """The object, and the hash of its data, which rolls the pods when it changes."""
    data = {AGENT_FILE: pretty(_agent(agent)), CARD_FILE: pretty(_card(names, agent))}
    return {**names.head("", "v1", "ConfigMap"), "data": data}, digest(data)


def agent_card(agent: Agent) -> dict[str, Any]:
    """The A2A v1.0 card that `agent` is declared to serve. Source: the AgentCard message of the A2A specification."""
    return _card(Names.of(agent, fleet=""), agent)


def _card(names: Names, agent: Agent) -> dict[str, Any]:
    spec = agent.spec
    port = serving_port(spec)
    interface = {"protocolBinding": "JSONRPC", "protocolVersion": A2A_VERSION}
    return {
        "name": agent.name.name,
        "description": spec.description,
        "version": version_of(spec.image),
        "supportedInterfaces": [{"url": service_url(names, port), **interface}] if port else [],
        "capabilities": {"streaming": False, "pushNotifications": False},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [shown_skill(skill) for skill in spec.skills],
    }


def shown_skill(skill: Skill) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": skill.id,
        "name": skill.name,
        "description": skill.description,
        "tags": list(skill.tags),
    }
    if skill.examples:
        shown["examples"] = list(skill.examples)
    return shown


def _agent(agent: Agent) -> dict[str, Any]:
    """Key names are those of the YAML that people write. A model's key is named, never held."""
    spec = agent.spec
    told: dict[str, Any] = {
        "name": agent.name.name,
        "namespace": agent.name.namespace,
        "description": spec.description,
        "systemMessage": spec.system_message,
        "tools": [shown_tool(tool) for tool in spec.tools],
        "skills": [shown_skill(skill) for skill in spec.skills],
        "config": spec.config,
    }
    if (model := spec.model_config) is not None:
        told["modelConfig"] = {"provider": model.provider, "model": model.model, "parameters": model.parameters}
        if model.base_url:
            told["modelConfig"]["baseUrl"] = model.base_url
        if model.secret is not None:
            told["modelConfig"]["apiKeyEnv"] = MODEL_KEY_ENV
    return told


def shown_tool(tool: Tool) -> dict[str, Any]:
    if tool.agent:
        shown: dict[str, Any] = {"agent": {"name": tool.agent}}
    else:
        shown = {"mcpServer": {"name": tool.mcp_server, "toolNames": list(tool.tool_names)}}
    if tool.url:
        next(iter(shown.values()))["url"] = tool.url
    if tool.require_approval:
        shown["requireApproval"] = list(tool.require_approval)
    return shown
