"""Buffers as programs that write their own loops see them: ``tir.decl_buffer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashsched.compat.tvm.te.axes import shape_of, sized
from flashsched.compat.tvm.tir.lanes import element_type, read, store
from flashsched.errors import DtypeError
from flashsched.schedule.ir import Buffer as OurBuffer
from flashsched.schedule.ir import Stmt
from flashsched.te import dtypes
from flashsched.te.expr import Expr

__all__ = ["AccessPtr", "Buffer", "decl_buffer"]


class AccessPtr:
    """The address of a buffer's element *offset*, to be passed to a function."""

    def __init__(self, buffer: Buffer, mask: str, offset: Any) -> None:
        self.buffer, self.mask, self.offset = buffer, mask, offset

    def __repr__(self) -> str:
        return f"access_ptr({self.buffer.name}, {self.mask!r})"


class Buffer:
    """Memory with a shape. *ours* is the buffer of our loops; *strides* count elements, none meaning without gaps."""

    def __init__(self, ours: OurBuffer, strides: Sequence[Any] = (), offset_factor: int = 0, elem_offset: Any = None):
        self.ours = ours
        self.strides = list(strides)
        self.offset_factor = offset_factor
        self.elem_offset = 0 if elem_offset is None else elem_offset

    @property
    def name(self) -> str:
        """Its name."""
        return self.ours.name

    @property
    def shape(self) -> list[Any]:
        """Its shape."""
        return list(map(sized, self.ours.shape))

    @property
    def dtype(self) -> str:
        """Its element type."""
        return self.ours.dtype

    @property
    def data(self) -> AccessPtr:
        """The address of its first element."""
        return AccessPtr(self, "rw", 0)

    def scope(self) -> str:
        """Where it lies."""
        return self.ours.scope

    def access_ptr(
        self, access_mask: Any, ptr_type: str = "handle", content_lanes: int = 1, offset: Any = 0, extent: Any = None
    ) -> AccessPtr:
        """The address of element *offset*; *access_mask* is ``"r"``, ``"w"`` or ``"rw"``."""
        mask = {1: "r", 2: "w", 3: "rw"}.get(access_mask, access_mask)
        if content_lanes != 1:
            raise NotImplementedError("access_ptr of vectors is not there: pass the address of the first element")
        return AccessPtr(self, str(mask), offset)

    def vload(self, begin: Any, dtype: str | None = None) -> Expr:
        """The element at *begin*; of a *dtype* such as ``"float32x4"`` the four from there on.

        Raises:
            DtypeError: the buffer holds elements of another type.
        """
        kind, lanes = element_type(dtype or self.dtype)
        if kind != self.dtype:
            raise DtypeError(
                f"a load of {dtype} from {self.name}, which holds {self.dtype}",
                hint=f"load {self.dtype}, and cast what was loaded",
            )
        return read(self.ours, begin, lanes)

    def vstore(self, begin: Any, value: Any) -> Stmt:
        """The statement that stores *value* at *begin*, or a vector from there on."""
        return store(self.ours, begin, value)

    def __getitem__(self, indices: Any) -> Expr:
        return self.vload(indices)

    def __repr__(self) -> str:
        return f"buffer({self.name}, {self.shape}, {self.dtype})"


def decl_buffer(
    shape: Any,
    dtype: str | None = None,
    name: str = "buffer",
    data: Any = None,
    strides: Any = None,
    elem_offset: Any = None,
    scope: str = "",
    data_alignment: int = -1,
    offset_factor: int = 0,
    buffer_type: str = "",
) -> Buffer:
    """Memory with a shape; what *strides* leave open (a `te.var`) may be any.

    *data*, *data_alignment* and *buffer_type* are not needed.
    """
    ours = OurBuffer(
        name,
        shape_of(shape),
        dtypes.check_dtype(dtype or "float32"),
        scope or "global",
    )
    return Buffer(ours, strides or (), offset_factor, elem_offset)
