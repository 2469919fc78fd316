"""Charts on disk: where they may be written, and how.

May live here: what is refused before anything is written. What is in a chart is the render package's.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from reconciler.cli.files import write_atomically
from reconciler.model.errors import UsageError

CHART_FILE = "Chart.yaml"


def check_folder(folder: Path, *, force: bool) -> None:
    """Raises UsageError where a chart must not be written: over anything but a chart, and over one only by force."""
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UsageError(f"{_shown(folder)} exists and is no folder", hint="name another with --out DIR")
        if not any(folder.iterdir()):
            return
        is_chart = (folder / CHART_FILE).is_file()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot look into {_shown(folder)}: {_reason(error)}") from error
    if not is_chart:
        raise UsageError(f"{_shown(folder)} is not empty and holds no chart", hint="name another with --out DIR")
    if not force:
        raise UsageError(
            f"{_shown(folder)} holds a chart already", hint="--force replaces its files; what you added stays"
        )


def write_chart(files: Mapping[str, str], folder: Path, *, private: frozenset[str] = frozenset()) -> None:
    """Write the files of a chart, those in `private` readable for their owner alone. Raises UsageError.

    A folder that was made for it goes again when something cannot be written.
    """
    fresh = not folder.exists()
    try:
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text.encode(), mode=0o600 if path in private else 0o644)
    except BaseException as error:
        if fresh:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
        if isinstance(error, OSError | ValueError):
            raise UsageError(f"cannot write into {_shown(folder)}: {_reason(error)}") from error
        raise


def _shown(folder: Path) -> str:
    return repr(str(folder)[:300])


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
