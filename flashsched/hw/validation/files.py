"""A file of fitted constants, changed by several processes side by side: each takes its turn, and none loses a section
that another has written meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flashsched.hw.constants import Section, fitted_toml, parse_fitted
from flashsched.hw.user_cache import write_whole

__all__ = ["change_sections"]


def change_sections(path: Path, change: Callable[[dict[str, Section]], Mapping[str, Section]], note: str) -> None:
    """Write to *path* what *change* makes of the sections that stand there by now, with *note* at its head.

    The file is there whole at any time, the old one or the new one.

    Raises:
        DeviceError: the file is there, and is no file of constants.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        found = dict(parse_fitted(path.read_text(encoding="utf-8"), path.name)) if path.is_file() else {}
        write_whole(path, fitted_toml(change(found), note).encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A block that one process runs at a time, by a lock on *folder* that falls when its owner dies.

    Windows locks no folder: there, run one process at a time.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
