"""Fits that were made before: in the user's cache folder, by what they depend on.

That is the rows, what was known before, and the models themselves, so any change to a model or to the fit makes every
fit anew. A damaged or unwritable cache costs time, never a result.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["fit_key", "keep_fit", "kept_fit"]


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
    for path in [*sorted(here.parent.glob("*.py")), *sorted(here.parent.glob("operators/*.py")), here / "fit.py"]:
        digest.update(path.read_bytes())
    return digest.digest()


def _path(key: str) -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("flashsched", appauthor=False)) / "fits" / f"{key}.json"


def kept_fit(key: str) -> dict[str, float] | None:
    """The constants that were found before for *key*."""
    try:
        found = json.loads(_path(key).read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def keep_fit(key: str, values: Mapping[str, float]) -> None:
    """Keep *values* for the next time, if the folder can be written."""
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps(dict(values)), encoding="utf-8")
        scratch.replace(path)
    except OSError:
        return
