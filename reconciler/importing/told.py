"""What an agent is told of itself (`agent.json`), read back from the ConfigMap that we once made.

May live here: the inverse of what rendering writes there. Must not: trust any of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.importing.families import Family
from reconciler.importing.notes import Draft
from reconciler.importing.reading import mapping, maps, text, texts
from reconciler.render.configmap import AGENT_FILE, MODEL_KEY_ENV

MAX_BYTES = 1024 * 1024
_SKILL = ("id", "name", "description", "tags", "examples")


def fill_from_config(draft: Draft, family: Family) -> None:
    """Put what a ConfigMap of ours says into a draft; another's is not touched."""
    said = text(mapping(family.config.body if family.config else {}, "data").get(AGENT_FILE))
    if not said or len(said) > MAX_BYTES:
        return
    try:
        told = msgspec.json.decode(said)
    except (msgspec.MsgspecError, RecursionError):
        return
    if mapping(told).get("name") != draft.name.name or "systemMessage" not in mapping(told):
        return
    draft.say(
        description=text(told.get("description")),
        systemMessage=text(told.get("systemMessage")),
        tools=[made for tool in maps(told.get("tools")) if (made := _tool(tool))],
        skills=[{key: skill[key] for key in _SKILL if key in skill} for skill in maps(told.get("skills"))],
        config=dict(mapping(told.get("config"))),
        modelConfig=_model(draft, mapping(told.get("modelConfig"))),
    )


def _tool(tool: Any) -> dict[str, Any]:
    server, agent = mapping(tool, "mcpServer"), mapping(tool, "agent")
    approval = texts(tool.get("requireApproval"))
    asks = {"requireApproval": approval} if approval else {}
    if agent:
        return {"agent": {"name": agent.get("name")}, **asks}
    made: dict[str, Any] = {"name": server.get("name")}
    if names := texts(server.get("toolNames")):
        made["toolNames"] = names
    if server.get("url"):
        made["url"] = server["url"]
    return {"mcpServer": made, **asks}


def _model(draft: Draft, model: Any) -> dict[str, Any]:
    made = {key: model[key] for key in ("provider", "model", "baseUrl", "parameters") if model.get(key)}
    if made and draft.model_secret:
        made["secret"] = draft.model_secret
        env = [entry for entry in draft.spec.get("env", []) if entry["name"] != MODEL_KEY_ENV]
        draft.spec["env"] = env
        if not env:
            del draft.spec["env"]
    return made
