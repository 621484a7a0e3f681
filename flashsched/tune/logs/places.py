"""Where tuning logs are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["log_places"]


def log_places() -> Iterator[Path]:
    """Every log in ``./tuning_logs``, in ``$FLASHSCHED_LOGS`` (a file or folder, or several), in the user's folder."""
    import platformdirs

    folders = [Path("tuning_logs")]
    folders += [Path(item) for item in os.environ.get("FLASHSCHED_LOGS", "").split(os.pathsep) if item]
    folders.append(Path(platformdirs.user_data_dir("flashsched")) / "tuning_logs")
    for folder in folders:
        if folder.is_file():
            yield folder
        elif folder.is_dir():
            yield from sorted(folder.rglob("*.jsonl"))
