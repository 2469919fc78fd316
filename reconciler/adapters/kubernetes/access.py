"""How a cluster is reached and who we are there: kubeconfig contexts, credential plugins, in-cluster tokens, TLS.

Nearly all of that is the `kubernetes` package's; here it is asked, and what it answers is told in words for people. It
takes long to import, so that this module is imported when a cluster is first spoken to.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, kube_config, load_incluster_config
from kubernetes.aio.config.kube_config import FileOrData, KubeConfigLoader, KubeConfigMerger

from reconciler.adapters.kubernetes import plugin
from reconciler.adapters.kubernetes.answers import NoAccess
from reconciler.adapters.kubernetes.connection import Login

PLUGIN_S = 30.0
"""How long a credential plugin may take."""
LOGIN_S = 40.0
"""How long credentials may take to come, whatever they come from."""


class _Loader(KubeConfigLoader):  # type: ignore[misc]
    """The package's, but for how credential plugins are run."""

    async def load_from_exec_plugin(self) -> bool:
        """Take what the plugin gives as the package's own does. Raises NoAccess."""
        given = await plugin.credential(self._user["exec"].value, within_s=PLUGIN_S)
        if given.token:
            self.token = f"Bearer {given.token}"
        else:
            pair = {"certificate-data": given.clientCertificateData, "key-data": given.clientKeyData}
            self.cert_file, self.key_file = (
                FileOrData(pair, None, data_key_name=name, base64_file_content=False).as_file() for name in pair
            )
        return True


class Access:
    """One cluster's address, TLS and credentials, as of the last `load`."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._configuration: Any = None
        self.tls: ssl.SSLContext | None = None
        self.proxy: str | None = None
        """Through what HTTP proxy the server is reached."""

    async def load(self) -> None:
        """Read the credentials, also anew after the server refused them. Raises NoAccess."""
        files = "" if self._login.in_cluster else _kubeconfigs(self._login)
        configuration = Configuration()
        # As other clients do not: authorities of clusters often lack what RFC 5280 asks of them.
        configuration.disable_strict_ssl_verification = True
        with self._told(), _FILES.used():
            async with asyncio.timeout(LOGIN_S):
                if self._login.in_cluster:
                    load_incluster_config(configuration)
                else:
                    merged = KubeConfigMerger(files).config
                    context = self._login.context or None
                    loader = _Loader(config_dict=merged, config_base_path=None, active_context=context)
                    await loader.load_and_set(configuration)
            secure = _is_secure(str(configuration.host))
            self.tls = RESTClientObject(configuration).ssl_context if secure else None
            self.proxy = _proxy_of(configuration)
        self._configuration = configuration

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what goes wrong with credentials as NoAccess."""
        try:
            yield
        except NoAccess as error:
            raise NoAccess(f"{_where(self._login)}: {error.message}", hint=error.hint) from error
        except TimeoutError as error:
            raise NoAccess(f"{_where(self._login)}: no credentials after {LOGIN_S:g} s") from error
        except ConfigException as error:
            raise NoAccess(f"{_where(self._login)}: {error}", hint=_hint(self._login)) from error
        except Exception as error:
            # The package raises whatever it stumbles over in a kubeconfig that is not one.
            text = f"{_where(self._login)} cannot be used: {' '.join(str(error).split()) or type(error).__name__}"
            raise NoAccess(text, hint=_hint(self._login)) from error

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def server_name(self) -> str | None:
        """The name that the server's certificate is checked for, where it is not the address's own."""
        found: str | None = self._configuration.tls_server_name
        return found

    async def headers(self) -> dict[str, str]:
        """The headers that say who we are; in a cluster the token is read anew each minute. Raises NoAccess."""
        with self._told():
            settings = await self._configuration.auth_settings()
            found = {}
            for one in settings.values():
                if one.get("in") == "header" and one.get("value"):
                    value = str(one["value"]).strip()
                    if not (value.isascii() and value.isprintable()):
                        raise NoAccess("its token is none: it has line breaks or the like")
                    found[str(one["key"])] = value
            return found


class _Files:
    """What the package writes to temporary files, private keys among it, to have it read by OpenSSL at once.

    It would keep them until the process ends: for a daemon whose certificates are renewed every hour ever more of them.
    """

    def __init__(self) -> None:
        self._users = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """They are there while the block lasts, and gone when the last such block ends: logins share equal ones."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._remove()

    @staticmethod
    def _remove() -> None:
        kept: dict[str, str] = getattr(kube_config, "_temp_files", {})  # it has no other way to say so
        for name in kept.values():
            with suppress(OSError):
                Path(name).unlink()
        kept.clear()
        if (forget := getattr(kube_config, "_cleanup_temp_files", None)) is not None:
            atexit.unregister(forget)  # it registers that anew for the first file after none


_FILES = _Files()


def _is_secure(address: str) -> bool:
    """Whether an address is spoken to by TLS. Raises ValueError for one that no server can have."""
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
        raise ValueError(f"its server is {address!r}, and no https://HOST:PORT")
    return url.scheme == "https"


def _proxy_of(configuration: Any) -> str | None:
    """The proxy that the kubeconfig names, else the environment's for that address. Raises NoAccess."""
    found: str | None = configuration.proxy
    if not found:
        url = urlsplit(str(configuration.host))
        found = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    if found and urlsplit(found).scheme not in ("http", "https"):
        raise NoAccess(f"the proxy {found} cannot be used", hint="HTTP proxies can: http://HOST:PORT")
    return found


def _kubeconfigs(login: Login) -> str:
    """The kubeconfigs to read, as $KUBECONFIG names them. Raises NoAccess where there is none."""
    files = login.kubeconfig or os.environ.get("KUBECONFIG", "") or str(Path.home() / ".kube" / "config")
    if not any(Path(name).expanduser().is_file() for name in files.split(os.pathsep) if name):
        hint = "name one with `kubeconfig` in fleet.yaml or $KUBECONFIG"
        raise NoAccess(f"there is no kubeconfig at {files}", hint=hint)
    return files


def _where(login: Login) -> str:
    if login.in_cluster:
        return "the pod's service account"
    files = login.kubeconfig or os.environ.get("KUBECONFIG", "") or "~/.kube/config"
    return f"context {login.context} of {files}" if login.context else f"the current context of {files}"


def _hint(login: Login) -> str:
    if login.in_cluster:
        return "`inCluster` works in a pod that mounts a service account token"
    return "`kubectl config get-contexts` lists the contexts that there are"
