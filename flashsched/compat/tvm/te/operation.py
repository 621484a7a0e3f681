"""Operations, with the attributes that TVM's have."""

from __future__ import annotations

from typing import Any

from flashsched.te import ExternOp as OurExternOp
from flashsched.te.recurrence import ScanOp as OurScanOp
from flashsched.te.tensor import ComputeOp as OurComputeOp
from flashsched.te.tensor import Operation
from flashsched.te.tensor import PlaceholderOp as OurPlaceholderOp

__all__ = ["ComputeOp", "ExternOp", "Operation", "PlaceholderOp", "ScanOp", "adopt_operation"]


class _Attributes:
    """What every operation of TVM's has."""

    tag = ""
    attrs: dict[str, Any] = {}  # noqa: RUF012  (never written to: an operation with attributes has its own)

    @property
    def input_tensors(self: Any) -> list[Any]:
        """The tensors that it reads."""
        return list(self.inputs)

    @property
    def num_outputs(self: Any) -> int:
        """How many tensors it makes."""
        return len(self.outputs)

    def same_as(self, other: Any) -> bool:
        """Whether *other* is this very operation."""
        return other is self


class PlaceholderOp(_Attributes, OurPlaceholderOp):
    """A tensor that the caller passes in."""


class ComputeOp(_Attributes, OurComputeOp):
    """Tensors defined element by element."""


class ExternOp(_Attributes, OurExternOp):
    """Tensors that are computed outside of te."""


class ScanOp(_Attributes, OurScanOp):
    """Rows that are computed one after another."""


_KINDS: dict[type, type] = {
    OurPlaceholderOp: PlaceholderOp,
    OurComputeOp: ComputeOp,
    OurExternOp: ExternOp,
    OurScanOp: ScanOp,
}


def adopt_operation(op: Operation) -> None:
    """Make *op* one of this module's: the same object, which offers more."""
    if type(op) in _KINDS:
        op.__class__ = _KINDS[type(op)]
