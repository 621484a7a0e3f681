"""Fits that were made before, and what they said of held-out rows: in the user's cache folder, by what they depend on.

That is the rows, what was known before, and the models themselves, so any change to a model or to the fit makes every
fit anew. A damaged or unwritable cache costs time, never a result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.user_cache import cache_folder, write_whole

__all__ = ["fit_key", "keep_fit", "keep_times", "kept_fit", "kept_times"]

_CODE = ("boost.py", "fit.py", "operations.py", "rows.py", "run.py")  # that decides about a fit, beside the models


def fit_key(name: str, constants: Mapping[str, Any], samples: Iterable[Any], known: Mapping[str, float]) -> str:
    """A digest of everything that a fit depends on."""
    digest = hashlib.sha256(_models_digest())
    digest.update(json.dumps([name, list(constants), sorted(known.items())]).encode())
    for sample in samples:
        digest.update(f"{sample.spec.fingerprint} {sample.dtype}".encode())
        for column in sorted(sample.sizes):
            digest.update(column.encode() + np.ascontiguousarray(sample.sizes[column]).tobytes())
        digest.update(np.ascontiguousarray(sample.measured_s).tobytes())
    return digest.hexdigest()[:32]


@functools.cache
def _models_digest() -> bytes:
    digest = hashlib.sha256()
    here = Path(__file__).resolve().parent
    models = [*sorted(here.parent.glob("*.py")), *sorted(here.parent.glob("operators/*.py"))]
    for path in [*models, *(here / name for name in _CODE)]:
        digest.update(path.read_bytes())
    return digest.digest()


def _path(key: str, suffix: str = ".json") -> Path:
    return cache_folder() / "fits" / f"{key}{suffix}"


def kept_fit(key: str) -> dict[str, float] | None:
    """The constants that were found before for *key*."""
    try:
        found = json.loads(_path(key).read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def keep_fit(key: str, values: Mapping[str, float]) -> None:
    """Keep *values* for the next time, if the folder can be written."""
    _write(_path(key), json.dumps(dict(values)).encode())


def kept_times(key: str, rows: int) -> NDArray[np.float64] | None:
    """The seconds that were predicted before for the *rows* of *key*."""
    try:
        found = np.frombuffer(_path(key, ".times").read_bytes())
    except (OSError, ValueError):
        return None
    return found if len(found) == rows else None


def keep_times(key: str, seconds: NDArray[np.float64]) -> None:
    """Keep *seconds* for the next time, if the folder can be written."""
    _write(_path(key, ".times"), seconds.tobytes())


def _write(path: Path, content: bytes) -> None:
    with contextlib.suppress(OSError):
        write_whole(path, content)
