"""Rendering: an agent and its placement in, Kubernetes manifests out, one module a kind.

For: what an agent looks like as objects, down to the values that an API server stores.
Must not know: what is live, plans, clusters' state, how anything is applied, values of secrets.
"""

from reconciler.render.canonical import canonical, digest
from reconciler.render.configmap import agent_card
from reconciler.render.container import port_number
from reconciler.render.render import Renderer, render

__all__ = ["Renderer", "agent_card", "canonical", "digest", "port_number", "render"]
