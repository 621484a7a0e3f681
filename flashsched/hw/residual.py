"""What measurements say beyond the few constants: a small sum of trees over a row's traits.

A model of few constants leaves a residual that is no noise: a library's choice of kernels, mostly. Where a device has
hundreds of measured rows, that residual, ``log(measured / predicted)``, is learned from them as a sum of small
*oblivious* trees: each asks the same few yes-or-no questions of every row, so that a tree is ``depth`` thresholds and
``2 ** depth`` numbers, and a table of 160 trees is twenty kilobytes of JSON.

A residual belongs to one set of constants: those of one device, or those that the devices of a family, or of all
families, share, whose libraries have habits in common. A device with figures changed has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DeviceError

__all__ = ["LIMIT", "Residual"]

Floats = NDArray[np.float64]

LIMIT = 0.4
"""The most that a residual moves a prediction, as a logarithm: what is further off is not the library's doing."""


@dataclass(frozen=True, eq=False)
class Residual:
    """A sum of trees over *traits*: tree ``t`` asks whether trait ``asked[t, i]`` is above ``above[t, i]``.

    The answers, read as bits, are the index into ``values[t]``.
    """

    traits: tuple[str, ...]
    asked: NDArray[np.int64]
    above: Floats
    values: Floats

    def factor(self, traits: Floats) -> Floats:
        """Times what a prediction is to be taken, for rows of *traits* (one column each, in their order).

        >>> one = Residual(("m",), np.array([[0]]), np.array([[3.0]]), np.array([[-0.1, 0.1]]))
        >>> one.factor(np.array([[2.0], [4.0]])).round(3)
        array([0.905, 1.105])
        """
        total = np.zeros(len(traits))
        bits = 2 ** np.arange(self.asked.shape[1])
        for asked, above, values in zip(self.asked, self.above, self.values, strict=True):
            total += values[(traits[:, asked] > above) @ bits]
        result: Floats = np.exp(np.clip(total, -LIMIT, LIMIT))
        return result

    def to_json(self) -> str:
        """As text, a tree on each line; its values in thousandths, for a tenth of a percent is nothing here."""
        thousandths = np.round(self.values * 1e3).astype(np.int64)
        trees = [
            json.dumps([asked.tolist(), [float(f"{x:.4g}") for x in above], values.tolist()], separators=(",", ":"))
            for asked, above, values in zip(self.asked, self.above, thousandths, strict=True)
        ]
        return f'{{"traits": {json.dumps(self.traits)},\n"trees": [\n' + ",\n".join(trees) + "\n]}\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> Residual:
        """The inverse of `to_json`.

        Raises:
            DeviceError: the text is something else; *origin* names it.
        """
        try:
            found = json.loads(text)
            trees: Sequence[Sequence[Sequence[float]]] = found["trees"]
            asked, above, values = (np.array([tree[part] for tree in trees]) for part in range(3))
            traits = tuple(str(name) for name in found["traits"])
            sound = asked.shape == above.shape and values.shape == (len(asked), 2 ** asked.shape[1])
            if not sound or asked.min() < 0 or asked.max() >= len(traits):
                raise ValueError("its trees do not fit together")
        except (ValueError, KeyError, TypeError, IndexError) as problem:
            raise DeviceError(f"{origin} holds no residual: {problem}") from problem
        return cls(traits, asked.astype(np.int64), above.astype(float), values * 1e-3)
