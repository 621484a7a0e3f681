"""Temporary folders."""

from __future__ import annotations

import os
import tempfile
from typing import Any

__all__ = ["TempDirectory", "tempdir"]


class TempDirectory:
    """A folder that is removed with this object."""

    def __init__(self, custom_path: str | None = None, keep_for_debug: bool = False) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if custom_path is not None:
            os.makedirs(custom_path)
            self.path = custom_path
        elif keep_for_debug:
            self.path = tempfile.mkdtemp()
        else:
            self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            self.path = self._folder.name
        self.temp_dir = self.path

    def remove(self) -> None:
        """Remove the folder now."""
        if self._folder is not None:
            self._folder.cleanup()

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

    def __del__(self) -> None:
        self.remove()


def tempdir(custom_path: str | None = None, keep_for_debug: bool = False) -> TempDirectory:
    """A new temporary folder."""
    return TempDirectory(custom_path, keep_for_debug)
