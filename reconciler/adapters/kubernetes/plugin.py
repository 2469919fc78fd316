"""Credential plugins: programs that a kubeconfig names, and that print an ExecCredential.

The `kubernetes` package runs them too, but without bounds, and what goes wrong it only logs. Here a plugin has a time
and a size, nobody to ask, and an end: one that waits for a person is killed.
Source: Kubernetes, "Authenticating", section "client-go credential plugins".
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from reconciler.adapters.kubernetes.answers import MAX_TEXT, NOT_UNDERSTOOD, NoAccess

MAX_OUTPUT = 2**20


class Credential(msgspec.Struct):
    """What a plugin gives: a token, or a certificate and its key, as PEM."""

    token: str = ""
    clientCertificateData: str = ""  # noqa: N815 - the name on the wire
    clientKeyData: str = ""  # noqa: N815 - the name on the wire


class _ExecCredential(msgspec.Struct):
    apiVersion: str  # noqa: N815 - the name on the wire
    status: Credential


async def credential(declared: Mapping[str, Any], *, within_s: float) -> Credential:
    """Run the plugin of a kubeconfig's user. Raises NoAccess."""
    command = str(declared.get("command") or "")
    if declared.get("interactiveMode") == "Always":
        raise NoAccess(f"its credential plugin {command} asks a person, and nobody is asked here")
    version = str(declared.get("apiVersion") or "")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    more = {str(one["name"]): str(one["value"]) for one in declared.get("env") or ()}
    arguments = [str(one) for one in declared.get("args") or ()]
    output = await _output_of(
        command, arguments, os.environ | more | {"KUBERNETES_EXEC_INFO": json.dumps(info)}, within_s
    )
    try:
        printed = msgspec.json.decode(output, type=_ExecCredential)
    except NOT_UNDERSTOOD as error:
        raise NoAccess(f"its credential plugin {command} printed no ExecCredential: {error}") from error
    given = printed.status
    if printed.apiVersion != version:
        raise NoAccess(f"its credential plugin {command} speaks {printed.apiVersion}, and {version} is asked for")
    if not (given.token or (given.clientCertificateData and given.clientKeyData)):
        raise NoAccess(f"its credential plugin {command} gave neither a token nor a certificate with its key")
    return given


async def _output_of(command: str, arguments: list[str], environment: Mapping[str, str], within_s: float) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # what it started is ended with it
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise NoAccess(f"its credential plugin {command} cannot be run: {why}") from error
    assert process.stdout is not None  # noqa: S101 - both are pipes
    assert process.stderr is not None  # noqa: S101
    try:
        async with asyncio.timeout(within_s):
            output, complaint = await asyncio.gather(_all_of(process.stdout), _all_of(process.stderr))
            code = await process.wait()
    except TimeoutError as error:
        text = f"its credential plugin {command} had not ended after {within_s:g} s"
        raise NoAccess(text, hint="does it wait for a person? run it by hand once, as kubectl does") from error
    finally:
        await _end(process)
    if code != 0:
        said = " ".join(complaint.decode("utf-8", "replace").split())[:MAX_TEXT]
        raise NoAccess(f"its credential plugin {command} ended with code {code}: {said or 'it said nothing'}")
    if len(output) > MAX_OUTPUT:
        raise NoAccess(f"its credential plugin {command} printed more than {MAX_OUTPUT // 2**20} MiB")
    return output


async def _all_of(stream: asyncio.StreamReader) -> bytes:
    """All that is written, and only the beginning of it where it is too much."""
    found = b""
    while chunk := await stream.read(2**16):
        if len(found) <= MAX_OUTPUT:
            found += chunk
    return found


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it and what it started where it still runs, and take its end."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
