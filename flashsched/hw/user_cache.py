"""The user's cache folder, where what was measured or fitted once is kept, and files that are whole at any time."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "write_whole"]


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again; it need not be there yet."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("flashsched", appauthor=False))


def write_whole(path: Path, content: bytes) -> None:
    """Write *content* to *path*, making its folder; others see the old file or the new one.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)
