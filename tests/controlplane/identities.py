"""Other identities at one control plane: users by certificate, service accounts by token. Each becomes a kubeconfig of
its own, in the plane's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from tests.controlplane import kubeconfig
from tests.controlplane.api import Api
from tests.controlplane.commands import ISSUER, Layout
from tests.controlplane.pki import Authority

LEEWAY_S = 60
"""For how long after its end the API server still takes a token, because clocks differ."""


class Identities:
    """Makes them."""

    def __init__(self, layout: Layout, authority: Authority, api: Api) -> None:
        self._layout = layout
        self._authority = authority
        self._api = api
        self._count = 0

    def user(self, name: str, groups: tuple[str, ...], context: str) -> Path:
        """Return the kubeconfig of a user that shows a client certificate."""
        file = self._next("user")
        identity = self._authority.issue(file, name=name, groups=groups)
        return self._write(file, context, identity.encoded())

    def service_account(self, namespace: str, name: str, expiry_s: int, context: str) -> Path:
        """Return the kubeconfig of a service account that shows a token."""
        return self._write(self._next("account"), context, {"token": self.token(namespace, name, expiry_s)})

    def token(self, namespace: str, name: str, expiry_s: int) -> str:
        """Ask the API server for a token. It gives none for less than ten minutes."""
        request = {"spec": {"expirationSeconds": expiry_s}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        return str(self._api.json("POST", f"{path}/token", request)["status"]["token"])

    def short_token(self, namespace: str, name: str, until: float) -> str:
        """Sign a token as the API server would, that it refuses after `until` (seconds since the epoch)."""
        account = self._api.json("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")["metadata"]
        end = int(until) - LEEWAY_S
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": end - 600,
            "nbf": end - 600,
            "exp": end,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": account["uid"]}},
        }
        return jwt.encode(claims, self._layout.signing_key.read_text(), algorithm="ES256")

    def _next(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"

    def _write(self, file: str, context: str, user: Mapping[str, str]) -> Path:
        content = kubeconfig.document(
            name=context, url=self._layout.url, authority=self._authority.encoded(), user=user
        )
        return kubeconfig.write(self._layout.folder / f"{file}.kubeconfig", content)
