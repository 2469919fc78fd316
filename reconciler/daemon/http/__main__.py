"""`python -m reconciler.daemon.http --write|--check FILE`: the OpenAPI document, from the routes that are served."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.daemon.http.changing import Changing
from reconciler.daemon.http.limits import Limits
from reconciler.daemon.http.openapi import text
from reconciler.daemon.http.server import routes
from reconciler.daemon.http.signatures import NO_SECRETS
from reconciler.daemon.http.webhook import Seen, Webhook


def described() -> str:
    """The document as it is kept in schemas/."""
    webhook = Webhook(secrets=lambda: NO_SECRETS, limits=Limits(), seen=Seen(monotonic=lambda: 0.0, most=0))
    return text(routes(webhook, Changing()))


def main(arguments: list[str]) -> int:
    """Write the document, or say whether a file is as it would be written."""
    if len(arguments) != 2 or arguments[0] not in {"--write", "--check"}:
        sys.stderr.write("usage: python -m reconciler.daemon.http --write|--check FILE\n")
        return 1
    file = Path(arguments[1])
    if arguments[0] == "--write":
        file.write_text(described(), encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == described():
        return 0
    sys.stderr.write(f"{file} is out of date: write it with `make schemas`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
