"""The process of a plugin that is an entry point: `python -I -m reconciler.adapters.plugins.child NAME`.

Reads a request from standard input, hands it to the entry point, and writes its answer as an executable plugin would.
What the plugin itself prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import entry_points

from reconciler.adapters.plugins.finding import GROUP


def main() -> None:
    """Run one check. What the plugin raises ends the process, and is the last line that it says."""
    answer = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    (found, *_) = entry_points(group=GROUP, name=sys.argv[1])
    said = found.load()(request)
    with os.fdopen(answer, "w") as out:
        json.dump(said, out)


if __name__ == "__main__":
    main()
