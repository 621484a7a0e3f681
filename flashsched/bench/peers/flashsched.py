"""flashsched: the kernel that `fs.matmul` and its like run, from a tuning log or of the template's first choice."""

from __future__ import annotations

from collections.abc import Iterator

from flashsched.bench.peers.peer import Peer, Way, Work, empty

__all__ = ["FLASHSCHED"]


def _ways(work: Work) -> Iterator[Way]:
    from flashsched.errors import TuneError
    from flashsched.functions import kernel_for
    from flashsched.ops import OPERATORS

    case = work.case
    if case.op not in OPERATORS:
        return
    try:
        kernel = kernel_for(case.op, case.shape, case.dtype, tuple(sorted(case.options.items())))
    except TuneError as error:
        raise TuneError(f"{case.op} does not take this case: {error.reason}") from error
    out = empty(case.out_shape, case.dtype)
    yield Way("kernel(a, b, out)", lambda: kernel(*work.inputs, out), lambda: out)
    filled = empty(case.out_shape, case.dtype)
    bound = kernel.bound(*work.inputs, filled)
    yield Way("kernel.bound(a, b, out)", lambda: bound(1), lambda: filled)


FLASHSCHED = Peer("flashsched", "flashsched", "flashsched", "flashsched", _ways)
"""What is measured against all others. A call is a call from Python, as theirs are."""
