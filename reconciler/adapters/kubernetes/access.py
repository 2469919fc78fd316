"""How a cluster is reached and who we are there: kubeconfig contexts, exec plugins, in-cluster tokens.

All of that is the `kubernetes` package's; here it is asked, and what it answers is told in words for people. It takes
long to import, so that this module is imported when a cluster is first spoken to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from reconciler.adapters.kubernetes.answers import NoAccess
from reconciler.adapters.kubernetes.connection import Login

LOGIN_S = 30.0
"""How long a credential plugin may take."""


class Access:
    """One cluster's address, TLS and credentials, as of the last `load`."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._configuration: Any = None
        self.tls: ssl.SSLContext | None = None

    async def load(self) -> None:
        """Read the credentials, also anew after the server refused them. Raises NoAccess."""
        configuration = Configuration()
        said = _Said()
        try:
            async with asyncio.timeout(LOGIN_S):
                if self._login.in_cluster:
                    load_incluster_config(configuration)
                else:
                    with said:
                        await self._load_kubeconfig(configuration)
            self.tls = RESTClientObject(configuration).ssl_context
        except TimeoutError as error:
            raise NoAccess(
                f"its credentials were not there after {LOGIN_S:.0f} s: does a plugin wait for a person?"
            ) from error
        except ConfigException as error:
            raise NoAccess(f"{_where(self._login)}: {error}", hint=_hint(self._login)) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # The package raises what it stumbles over in a kubeconfig that is not one.
            text = f"{_where(self._login)} cannot be used: {error or type(error).__name__}"
            raise NoAccess(text, hint=_hint(self._login)) from error
        if said.error and not (configuration.api_key or configuration.cert_file):
            raise NoAccess(f"{_where(self._login)}: its credential plugin failed: {said.error}")
        self._configuration = configuration

    async def _load_kubeconfig(self, configuration: Any) -> None:
        files = self._login.kubeconfig or os.environ.get("KUBECONFIG", "") or str(Path.home() / ".kube" / "config")
        if not _any_is_there(files):
            raise NoAccess(
                f"there is no kubeconfig at {files}", hint="name one with `kubeconfig` in fleet.yaml or $KUBECONFIG"
            )
        await load_kube_config(
            config_file=files,
            context=self._login.context or None,
            client_configuration=configuration,
            persist_config=False,
        )

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def proxy(self) -> str | None:
        found: str | None = self._configuration.proxy
        return found

    @property
    def server_name(self) -> str | None:
        """The name that the server's certificate is checked for, where it is not the address's own."""
        found: str | None = self._configuration.tls_server_name
        return found

    async def headers(self) -> dict[str, str]:
        """The headers that say who we are; in a cluster the token is read anew each minute."""
        settings = await self._configuration.auth_settings()
        found = {}
        for one in settings.values():
            if one.get("in") == "header" and one.get("value"):
                found[str(one["key"])] = str(one["value"]).strip()
        return found


class _Said(logging.Handler):
    """What the package logs while it reads a kubeconfig: of a plugin that failed it speaks nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error = ""
        self._logger = logging.getLogger("kubernetes.aio.config.kube_config")

    def emit(self, record: logging.LogRecord) -> None:
        self.error = record.getMessage()

    def __enter__(self) -> None:
        self._logger.addHandler(self)
        self._logger.propagate = False

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = True


def _any_is_there(files: str) -> bool:
    return any(Path(name).expanduser().is_file() for name in files.split(os.pathsep) if name)


def _where(login: Login) -> str:
    if login.in_cluster:
        return "the pod's service account"
    files = login.kubeconfig or os.environ.get("KUBECONFIG", "") or "~/.kube/config"
    return f"context {login.context} of {files}" if login.context else f"the current context of {files}"


def _hint(login: Login) -> str:
    if login.in_cluster:
        return "`inCluster` works in a pod that mounts a service account token"
    return "`kubectl config get-contexts` lists the contexts that there are"
