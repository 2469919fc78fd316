"""The start of HTTPS: a connection counts, and may be hung up on, from its first moment on.

asyncio tells of a TLS connection only when its handshake has ended. Who opens connections and says nothing could hold
as many until then as it likes, each with a file and buffers; here such a one is as any other that waits for its client.
"""

from __future__ import annotations

import asyncio
import ssl

from reconciler.daemon.http.limits import Connection, Crowd


class Handshake(asyncio.Protocol):
    """What a connection is until it is encrypted; then it is `into`."""

    working = False

    def __init__(self, into: Connection, crowd: Crowd, context: ssl.SSLContext, within_s: float) -> None:
        self._into, self._crowd, self._context, self._within_s = into, crowd, context, within_s
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or hang up."""
        if not isinstance(transport, asyncio.Transport):
            return
        if not self._crowd.admits(self, transport):
            transport.abort()
            return
        self._transport = transport
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport))

    def data_received(self, data: bytes) -> None:
        """A request may come in one piece with the end of the handshake."""
        self._early += data

    def drop(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=self._within_s
            )
        except (OSError, ValueError):  # it is no TLS, shows no good certificate, or takes too long
            return
        finally:
            self._crowd.left(self)
        if encrypted is None or encrypted.is_closing():  # None: it was hung up on meanwhile
            return
        encrypted.set_protocol(self._into)
        self._into.connection_made(encrypted)
        if self._early:
            self._into.data_received(bytes(self._early))
