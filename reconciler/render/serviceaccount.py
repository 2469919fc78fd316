"""The ServiceAccount: an identity of its own for each agent, without a token in its pods."""

from __future__ import annotations

from typing import Any

from reconciler.render.metadata import Names


def service_account(names: Names) -> dict[str, Any]:
    return {**names.head("", "v1", "ServiceAccount"), "automountServiceAccountToken": False}
