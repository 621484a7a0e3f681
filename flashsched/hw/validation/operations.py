"""What a row of a measurement asks of an operator model: which model, which dtype, which sizes.

Published tables name one operation in many ways (``add``, ``addu``, ``linear_bias``, ``allreduce``) and keep its sizes
in different columns; all of that is settled here, so that the models see one form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.operators import elementwise
from flashsched.hw.operators.asked import EXTENTS
from flashsched.hw.operators.collective import COLLECTIVES
from flashsched.hw.validation.tables import Table

__all__ = ["DTYPES", "FOLD_BY", "OPERATIONS", "Asked", "asked_of", "dtype_of", "numbers"]

Columns = dict[str, NDArray[np.int64]]

DTYPES: dict[str, str] = {
    "fp64": "float64", "float64": "float64", "double": "float64",
    "fp32": "float32", "float32": "float32", "float": "float32", "f32": "float32",
    "tf32": "tf32",
    "fp16": "float16", "float16": "float16", "half": "float16", "f16": "float16", "fp16_tc": "float16",
    "bf16": "bfloat16", "bfloat16": "bfloat16",
    "pseudo_fp16": "float16/float32",
    "fp16_in_jax": "float16/bfloat16",
    "fp8": "float8_e4m3", "fp8_e4m3": "float8_e4m3", "float8_e4m3": "float8_e4m3", "fp8_e5m2": "float8_e5m2",
    "float8_e5m2": "float8_e5m2", "fp8_block": "float8_e4m3:block", "fp8_blockscale": "float8_e4m3:block",
    "fp8_rowwise": "float8_e4m3:row",
    "int8": "int8", "int8_rowwise": "int8:row", "int32": "int32",
}  # fmt: skip
"""A table's name of a dtype -> ours (``operators/dtypes.py``)."""


_OTHERWISE = {
    ("yangwhale", "float32"): "float32/bfloat16", ("deepbench", "int8"): "int8:packed",
    ("pipeweave", "fp8"): "float8_e4m3:block",
}  # fmt: skip
"""Sources whose library computes otherwise than its operands' dtype suggests: XLA multiplies float32 on a TPU as
bfloat16, unless another precision is asked for; cuBLAS of 2018 gave int8 to matrix units in a layout of their own, and
plain matrices to the lanes (the fastest product in DeepBench's table of a T4 reaches 95 % of what these can). PipeWeave
does not name its kernels of float8: below 64 rows they take 4 us and a third for each 128 of k, whatever n, so no
reduction is split and each 128 waits for its scale, as in DeepGEMM."""


def dtype_of(name: str, source: str) -> str | None:
    """Our name of a table's dtype; None where it is not known."""
    return _OTHERWISE.get((source, name.lower()), DTYPES.get(name.lower()))


class Asked(NamedTuple):
    """A model's name, and its sizes by row; rows whose sizes are missing, or that compute nothing, are left out of
    *kept*."""

    model: str
    sizes: Columns
    kept: NDArray[np.bool_]
    missing: tuple[str, ...] = ()


_ELEMENTWISE = {one.name: index for index, one in enumerate(elementwise.FUNCTIONS)}
_SAME = {
    "addu": "add_scalar", "subu": "sub_scalar", "mulu": "mul_scalar", "divu": "div_scalar", "powu": "pow_scalar",
    "swiglu": "silu_mul", "silu_and_mul": "silu_mul", "geglu": "gelu_mul", "gelu_and_mul": "gelu_mul", "swish": "silu",
    "gelu_new": "gelu", "gelu_tanh": "gelu", "leakyrelu": "leaky_relu", "prelu": "leaky_relu", "relu6": "clip",
    "hardtanh": "clip", "clamp": "clip", "hard_swish": "hardswish", "hardsigmoid": "clip", "celu": "elu",
    "log_sigmoid": "softplus", "logsigmoid": "softplus", "softmin": "softmax", "log_softmax": "softmax",
    "max": "maximum", "min": "minimum",
    "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow", "negative": "neg", "square": "mul_scalar",
    "residual_add": "add", "bias_add": "add", "scale": "mul_scalar", "stream_copy": "copy", "stream_mul": "mul_scalar",
    "stream_add": "add", "stream_triad": "add",
    "linear": "gemm", "linear_bias": "gemm", "matmul": "gemm", "mm": "gemm", "addmm": "gemm", "bmm": "gemm",
    "batched_gemm": "gemm", "gemm_best_shape": "gemm", "dense": "gemm",
    "ln": "layernorm", "layer_norm": "layernorm", "rms_norm": "rmsnorm", "input_layernorm": "rmsnorm",
    "post_attention_layernorm": "rmsnorm", "sumall": "sum", "reduce_sum": "sum", "mean": "sum",
    "argmax": "sum", "argmin": "sum", "reduce_max": "sum", "reduce_min": "sum", "reduce_mean": "sum",
    "stream_dot": "dot",
    "allreduce": "all_reduce", "allgather": "all_gather", "reducescatter": "reduce_scatter", "all_to_all": "alltoall",
    "conv2d_fwd": "conv2d", "conv": "conv2d", "conv1d": "conv2d",
    "attention": "attention_prefill", "attention_context": "attention_prefill_causal",
    "attention_generation": "attention_decode", "h2d_memcpy": "h2d_copy", "d2h_memcpy": "d2h_copy",
    "h2d_memcpy_pcie3": "h2d_copy", "d2h_memcpy_pcie3": "d2h_copy",
}  # fmt: skip


def numbers(text: NDArray[np.str_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A column of text as whole numbers, and which rows hold one."""
    values = np.zeros(len(text), dtype=np.int64)
    sound = np.zeros(len(text), dtype=np.bool_)
    unique, where = np.unique(text, return_inverse=True)
    for index, each in enumerate(unique):
        try:
            value = float(each)
        except ValueError:
            continue
        if value >= 0 and value.is_integer():
            values[where == index], sound[where == index] = int(value), True
    return values, sound


def _columns(table: Table, rows: NDArray[np.bool_], names: Mapping[str, tuple[str, ...]],
             defaults: Mapping[str, int]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:  # fmt: skip
    """For each size, the first of its column's names that the table has; which rows are whole; what is missing."""
    kept = np.ones(int(rows.sum()), dtype=np.bool_)
    sizes: Columns = {}
    missing = []
    for size, candidates in names.items():
        found = next((name for name in candidates if name in table.columns), None)
        if found is None:
            if size in defaults:
                sizes[size] = np.zeros(len(kept), dtype=np.int64) + defaults[size]
            else:
                missing.append(candidates[0])
            continue
        values, sound = numbers(table.columns[found][rows])
        if size in defaults:
            values, sound = np.where(sound, values, defaults[size]), np.ones_like(sound)
        sizes[size] = values
        kept &= sound
    return sizes, kept, tuple(missing)


def _matrix(table: Table, rows: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    """m rows of n elements: from columns m and n, a shape ``16x16x32``, or a number of elements."""
    names = {"m": ("m", "rows"), "n": ("n", "cols", "hidden")}
    if "m" in table.columns:
        return _columns(table, rows, names, {"n": 1})
    if "shape" in table.columns:
        return _shaped(table, rows, ("m", "n", "inner"), _matrix_of)
    return _columns(table, rows, {"m": ("numel", "n_elements"), "n": ("n",)}, {"n": 1})


def _shaped(
    table: Table, rows: NDArray[np.bool_], names: tuple[str, ...], sizes_of: Callable[..., tuple[int, ...] | None]
) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    """The sizes *names* of rows whose operands' shapes are a text: ``64x128``, or ``100x1024x32 32x64`` of two.

    *sizes_of* is given the operands' dimensions; None, as a text that is none, leaves the row out.
    """
    shapes = table.columns["shape"][rows]
    found = np.zeros((len(names), len(shapes)), dtype=np.int64)
    kept = np.zeros(len(shapes), dtype=np.bool_)
    for index, shape in enumerate(shapes):
        operands = [word for word in shape.split(" ") if re.fullmatch(r"\d+(x\d+)*", word)]
        sizes = sizes_of(*([int(each) for each in word.split("x")] for word in operands)) if operands else None
        if sizes is not None:
            found[:, index], kept[index] = sizes, True
    return dict(zip(names, found, strict=True)), kept, ()


def _matrix_of(first: list[int], *_: list[int]) -> tuple[int, ...] | None:
    """Rows and their length of an array, and the dimension before the last."""
    return math.prod(first[:-1]), first[-1], first[-2] if len(first) > 1 else 1


def _product_of(left: list[int], right: list[int] | None = None, *_: list[int]) -> tuple[int, ...] | None:
    """Of ``A[..., m, k] · B[k, n]``, the rows of all matrices of A together, or of ``A[..., m, k] · B[..., k, n]``."""
    if right is None or len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        return None
    if len(right) == 2:
        return math.prod(left[:-1]), right[1], right[0], 1
    return (left[-2], right[-1], right[-2], math.prod(left[:-2])) if left[:-2] == right[:-2] else None


def _convolution_of(image: list[int], filters: list[int] | None = None, *_: list[int]) -> tuple[int, ...] | None:
    """Of an image ``batch x height x width x channels`` and filters ``out x height x width x channels``, or without a
    height, at stride 1 and without padding."""
    if filters is None or len(image) != len(filters) or len(image) not in (3, 4) or image[-1] != filters[-1]:
        return None
    batch, height, width, channels = image if len(image) == 4 else (image[0], 1, *image[1:])
    out, kh, kw = filters[:3] if len(filters) == 4 else (filters[0], 1, filters[1])
    return batch, channels, height, width, out, kh, kw, 1, 1, 0, 0


_GEMM = {"m": ("m",), "n": ("n",), "k": ("k",), "batch": ("batch",), "threads": ("threads", "cores")}


def _gemm(table: Table, rows: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    """A product as a library runs it: rows of a schedule of one's own are left out."""
    if "shape" in table.columns and "m" not in table.columns:
        return _shaped(table, rows, ("m", "n", "k", "batch"), _product_of)
    sizes, kept, missing = _columns(table, rows, _GEMM, {"batch": 1, "threads": 0})
    schedule = table.text("schedule")[rows]
    return sizes, kept & ((schedule == "") | (schedule == "xla")), missing


_ATTENTION = {"batch": ("batch", "b"), "seqlen": ("seqlen", "seq_len", "s", "isl"), "kv_len": ("kv_len", "context"),
              "heads": ("heads", "num_heads"), "kv_heads": ("kv_heads", "num_kv_heads"),
              "head_dim": ("head_dim", "d")}  # fmt: skip
_CONV = {"batch": ("batch",), "cin": ("cin",), "hin": ("hin",), "win": ("win",), "cout": ("cout",), "kh": ("kh",),
         "kw": ("kw",), "stride_h": ("stride_h", "stride"), "stride_w": ("stride_w", "stride"),
         "pad_h": ("pad_h", "pad"), "pad_w": ("pad_w", "pad")}  # fmt: skip
_CONVOLUTIONS = ("conv2d", "conv2d_bwd_data", "conv2d_bwd_weight")

Reader = Callable[[Table, NDArray[np.bool_]], tuple[Columns, NDArray[np.bool_], tuple[str, ...]]]


def _attention(table: Table, rows: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    sizes, kept, missing = _columns(table, rows, _ATTENTION, {"kv_len": 0, "kv_heads": 0})
    if not missing:
        sizes["kv_heads"] = np.where(sizes["kv_heads"] > 0, sizes["kv_heads"], sizes["heads"])
        sizes["kv_len"] = np.where(sizes["kv_len"] > 0, sizes["kv_len"], sizes["seqlen"])
    return sizes, kept, missing


def _convolution(table: Table, rows: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    """A convolution as a library runs it. What frameworks run on Apple's CPUs is none: they differ by 100 times."""
    if "shape" in table.columns and "cin" not in table.columns:
        sizes, kept, missing = _shaped(table, rows, tuple(_CONV), _convolution_of)
        return sizes, kept & ~np.isin(table.text("backend")[rows], ("cpu", "mlx_cpu")), missing
    return _columns(table, rows, _CONV, {})


def _message(table: Table, rows: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    """Bytes that each device contributes. A column of elements is in the dtype's size."""
    names = {"bytes": ("bytes", "message_bytes", "message_elems_or_bytes", "message_size"),
             "devices": ("num_devices", "devices", "gpus", "ranks")}  # fmt: skip
    sizes, kept, missing = _columns(table, rows, names, {})
    if "bytes" not in table.columns and "message_elems_or_bytes" in table.columns and not missing:
        halves = np.char.lower(table.text("dtype")[rows])
        sizes["bytes"] = sizes["bytes"] * np.where(halves == "half", 2, 1)
    return sizes, kept, missing


def _copy(table: Table, rows: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_], tuple[str, ...]]:
    return _columns(table, rows, {"bytes": ("bytes",)}, {})


OPERATIONS: dict[str, tuple[str, Reader, dict[str, int]]] = {
    **{name: ("elementwise", _matrix, {"function": index}) for name, index in _ELEMENTWISE.items()},
    "gemm": ("gemm", _gemm, {}),
    "softmax": ("softmax", _matrix, {}),
    "layernorm": ("row_wise", _matrix, {"passes": 2}),
    "rmsnorm": ("row_wise", _matrix, {"passes": 1}),
    "sum": ("row_wise", _matrix, {"passes": 0}),
    "dot": ("row_wise", _matrix, {"passes": 0, "operands": 2}),
    "attention_prefill": ("attention", _attention, {"causal": 0}),
    "attention_prefill_causal": ("attention", _attention, {"causal": 1}),
    "attention_decode": ("attention", _attention, {"causal": 0, "decode": 1}),
    **{name: ("conv2d", _convolution, {"pass": index}) for index, name in enumerate(_CONVOLUTIONS)},
    **{name: ("collective", _message, {"collective": index}) for index, name in enumerate(COLLECTIVES)},
    "h2d_copy": ("host_copy", _copy, {}),
    "d2h_copy": ("host_copy", _copy, {}),
}
"""Operation -> its model, how its sizes are read, and sizes that its name implies."""

FOLD_BY: dict[str, tuple[str, ...]] = {
    "gemm": ("n", "k"),
    "attention": ("heads", "kv_heads", "head_dim"),
    "conv2d": ("cin", "cout"),
    "collective": ("bytes",),
    "host_copy": ("bytes",),
}
"""Sizes by which rows are dealt to folds: rows that agree in them, as those of one layer of a network at many batch
sizes do, are never split between what a fit sees and what it is tested on. Others go by ``n``, the length of a row."""


def asked_of(table: Table, rows: NDArray[np.bool_], op: str) -> Asked | None:
    """What the *rows* of *table* ask, all of them of operation *op*; None where no model is meant by that name."""
    found = OPERATIONS.get(_SAME.get(op, op))
    if found is None:
        return None
    model, read, implied = found
    sizes, kept, missing = read(table, rows)
    for name in set(sizes) & set(EXTENTS):
        kept = kept & (sizes[name] > 0)
    for name, value in implied.items():
        sizes[name] = np.full(len(kept), value, dtype=np.int64)
    return Asked(model, sizes, kept, missing)
