"""flashsched: the kernels that `fs.matmul` and its like run, from a tuning log or of the templates' first choice.

Weights, a product's second factor or a convolution's filters, are tried as they are, and packed ahead, as the libraries
that take them for constants do. A convolution is tried as a plain sum and by Winograd's F(2, 3), which errs less than
the sum does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from flashsched.bench.computations import Array
from flashsched.bench.peers.peer import Peer, Way, Work, aligned, empty
from flashsched.errors import TuneError

__all__ = ["FLASHSCHED"]


def _ways(work: Work) -> Iterator[Way]:
    from flashsched.ops import OPERATORS

    case = work.case
    if case.op not in OPERATORS:
        return
    turned = {f"transpose_{'ab'[index]}": True for index in case.transposed}
    inputs = [work.contiguous(index) for index in range(len(work.inputs))]
    yield from _kernel(work, case.op, case.shape, {**case.options, **turned}, inputs)
    if case.op == "conv2d":
        for algorithm, how in (("direct", ""), ("winograd2", ", by Winograd's F(2, 3)")):
            with suppress(TuneError):  # it is not for such a convolution
                options = {**case.options, "algorithm": algorithm}
                if how:
                    yield from _kernel(work, case.op, case.shape, options, inputs, how)
                if "groups" not in case.options:
                    yield from _packed_filters(work, options, inputs, how)
    if case.op == "matmul":
        from flashsched.functions.packing import panels_of

        options = {**case.options, **{name: True for name in turned if name == "transpose_a"}}
        for width in _widths(work):
            panels = aligned(panels_of(work.inputs[1], width))
            yield from _kernel(
                work, "packed_matmul", (*case.shape, width), options, [inputs[0], panels, *inputs[2:]],
                f", B in panels of {width}",
            )  # fmt: skip


def _packed_filters(work: Work, options: dict[str, Any], inputs: list[Array], how: str) -> Iterator[Way]:
    from flashsched.functions.packing import PackedFilters, prepack

    case = work.case
    stride, padding = case.shape[6:8]
    packed = prepack(
        inputs[1], image=case.shape[:4], stride=stride, padding=padding, algorithm=options["algorithm"]
    )  # fmt: skip
    assert isinstance(packed, PackedFilters)
    panels = aligned(packed.panels)
    width = panels.shape[-1]
    yield from _kernel(
        work, "packed_conv2d", (*case.shape, width), options, [inputs[0], panels, *inputs[2:]],
        f"{how}, weights in panels of {width}",
    )  # fmt: skip


def _kernel(
    work: Work, op: str, shape: tuple[int, ...], options: dict[str, Any], inputs: list[Array], how: str = ""
) -> Iterator[Way]:
    from flashsched.functions import kernel_for

    kernel = kernel_for(op, shape, work.case.dtype, tuple(sorted(options.items())))
    out = empty(work.case.out_shape, work.case.dtype)
    yield Way(f"kernel(a, b, out){how}", lambda: kernel(*inputs, out), lambda: out)


def _widths(work: Work) -> list[int]:
    """Columns of a panel to try: what the template would take, and two or four vectors."""
    from flashsched.hw import devices
    from flashsched.ops.gemm_plan import register_tile, vector_shape

    spec = devices["cpu"]
    m, n, _ = work.case.shape
    lanes, _ = vector_shape(spec, work.case.dtype)
    _, vectors = register_tile(m, n, spec, work.case.dtype, work.threads)
    return sorted({lanes * count for count in (vectors, 2, 4) if count})


FLASHSCHED = Peer("flashsched", "flashsched", "flashsched", "flashsched", _ways)
"""What is measured against all others. A call is a call from Python, as theirs are."""
