"""A fitted forest as plain arrays, which are kept between runs: no library is needed to ask it, and no fit is repeated.

The nodes of all trees stand in a row. A leaf leads to itself, so that all rows go down all trees in step until none
moves any more.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trees"]

Rows = NDArray[Any]


@dataclass(frozen=True)
class Trees:
    """A forest.

    Attributes:
        roots: where each tree begins.
        column, threshold: what a node looks at; a row goes left where its value there is not above the threshold.
        left, right: where it goes on.
        value: what the training rows of a node have in the mean.
    """

    roots: Rows
    column: Rows
    threshold: Rows
    left: Rows
    right: Rows
    value: Rows

    @classmethod
    def of(cls, trees: Sequence[Any]) -> Trees:
        """*trees* of scikit-learn (the ``tree_`` of each estimator)."""
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])
        left, right = (
            np.concatenate([np.where(child < 0, np.arange(len(child)), child) + start
                            for child, start in zip(side, starts, strict=False)])
            for side in ([tree.children_left for tree in trees], [tree.children_right for tree in trees])
        )  # fmt: skip
        return cls(
            starts[:-1].astype(np.int32),
            np.maximum(np.concatenate([tree.feature for tree in trees]), 0).astype(np.int32),
            np.concatenate([tree.threshold for tree in trees]),
            left.astype(np.int32),
            right.astype(np.int32),
            np.concatenate([tree.value[:, 0, 0] for tree in trees]),
        )

    def __call__(self, asked: Rows) -> tuple[Rows, Rows]:
        """The mean of the trees' values for each row of *asked*, and their standard deviation."""
        table = np.ascontiguousarray(asked, dtype=np.float32).ravel()
        count, width = np.shape(asked)
        first = np.tile(np.arange(count) * width, len(self.roots))
        at = np.repeat(self.roots, count)
        while True:
            goes_left = table[first + self.column[at]] <= self.threshold[at]
            below = np.where(goes_left, self.left[at], self.right[at])
            if np.array_equal(below, at):
                break
            at = below
        votes = self.value[at].reshape(len(self.roots), count)
        return votes.mean(axis=0), votes.std(axis=0)

    def to_bytes(self) -> bytes:
        """All arrays, as `from_bytes` reads them."""
        file = io.BytesIO()
        np.savez(file, *astuple(self))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Trees:
        """What `to_bytes` gave.

        Raises:
            ValueError: *content* is something else.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if len(file.files) != len(fields(cls)):
                raise ValueError("not the arrays of a forest")
            return cls(*(file[name] for name in file.files))
