"""Temporary folders."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from typing import Any

__all__ = ["TempDirectory", "tempdir"]


class TempDirectory:
    """A folder that is removed with this object."""

    def __init__(self, custom_path: str | None = None, keep_for_debug: bool = False) -> None:
        if custom_path is not None:
            os.makedirs(custom_path)
        self.path = self.temp_dir = custom_path or tempfile.mkdtemp()
        kept = keep_for_debug or custom_path is not None
        self._remove = None if kept else weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder now."""
        if self._remove is not None:
            self._remove()

    def relpath(self, name: str) -> str:
        """The path of *name* in the folder."""
        return os.path.join(self.path, name)

    def listdir(self) -> list[str]:
        """The names in the folder."""
        return os.listdir(self.path)

    def __truediv__(self, name: str) -> str:
        return self.relpath(name)

    def __enter__(self) -> TempDirectory:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def tempdir(custom_path: str | None = None, keep_for_debug: bool = False) -> TempDirectory:
    """A new temporary folder."""
    return TempDirectory(custom_path, keep_for_debug)
