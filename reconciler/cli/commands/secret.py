"""`reconciler secret`: secrets of agents on the embedded cluster, as files that only their owner reads."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from reconciler.cli.command import build, group
from reconciler.cli.files import make_private, write_atomically
from reconciler.cli.fleets import state_folder
from reconciler.cli.options import agent_name
from reconciler.cli.output import note, terminal
from reconciler.model.errors import UsageError

MAX_BYTES = 1024 * 1024
"""What Kubernetes allows of a Secret."""
_KEY = re.compile(r"[A-Za-z0-9_-][-._A-Za-z0-9]{0,252}\Z")


def set_(
    secret: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The secret that an agent's spec names.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key in it.")],
) -> None:
    """Keep one key of a secret, read from standard input.

    The value is kept as it is, but for one line feed at its end. It becomes the file
    .reconciler/secrets/NAMESPACE/NAME/KEY with mode 0600.
    On Kubernetes secrets are the cluster's own, and this command is not for them.
    """
    name = agent_name(secret, "a secret")
    if not _KEY.match(key) or ".." in key:
        raise UsageError(f"{key[:60]!r} is not a key: letters, digits, '-', '_' and '.'", hint="like: api-key")
    folder = state_folder() / "secrets" / name.namespace / name.name
    for part in (folder.parent.parent, folder.parent, folder, folder / key):
        if part.is_symlink():
            raise UsageError(f"{part} is a link", hint="remove it: secrets are only kept in real folders")
    value = _read()
    for part in (folder.parent.parent, folder.parent, folder):
        make_private(part)
    write_atomically(folder / key, value, mode=0o600)
    note(f"Kept key {key} of secret {name} ({len(value)} bytes).")


def _read() -> bytes:
    """The value from standard input, asked for without echo on a terminal. Raises UsageError when it is none."""
    if terminal(sys.stdin):
        import getpass

        value = getpass.getpass("Value (not shown): ", stream=sys.stderr).encode()
    else:
        value = sys.stdin.buffer.read(MAX_BYTES + 2)
        value = value[:-1] if value.endswith(b"\n") else value
    if not value:
        raise UsageError("standard input holds no value", hint="like: reconciler secret set ns/name key < key.txt")
    if len(value) > MAX_BYTES:
        raise UsageError("the value is larger than 1 MiB", hint="that is what Kubernetes allows of a Secret")
    return value


command = group(
    "secret",
    "Keep secrets for agents on the embedded cluster.",
    {
        "set": build(
            set_,
            name="set",
            examples=(
                "reconciler secret set support/anthropic api-key < key.txt",
                'printf %s "$KEY" | reconciler secret set support/anthropic api-key',
            ),
        )
    },
)
