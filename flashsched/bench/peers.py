"""Who is measured: each peer prepares a case once, in its own best way, and then runs it.

A peer is a function ``prepare(case, inputs) -> run``, where ``run(calls)`` does the work that many times and returns
the result; its arrays are made once, its output is allocated ahead where the library allows it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flashsched.bench.cases import Case
from flashsched.errors import TuneError, did_you_mean

__all__ = ["PEERS", "Peer", "Run", "find_peers"]

Array = NDArray[Any]
Run: TypeAlias = Callable[[int], Array]


@dataclass(frozen=True)
class Peer:
    """A library, and the environment that its process gets."""

    name: str
    module: str
    prepare: Callable[[Case, list[Array]], Run | None]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether the library is here."""
        return importlib.util.find_spec(self.module) is not None


def _flashsched(case: Case, inputs: list[Array]) -> Run:
    from flashsched.functions import kernel_for

    options = tuple(sorted(case.options.items()))
    kernel = kernel_for(case.op, case.shape, case.dtype, options)
    out = kernel(*inputs)
    bound = kernel.bound(*inputs, out)

    def run(calls: int) -> Array:
        bound(calls)
        return np.asarray(out)

    return run


def _numpy(case: Case, inputs: list[Array]) -> Run | None:
    out: Array
    if case.op == "matmul":
        a, b = inputs[:2]
        out = a @ b
        rest = inputs[2:]
        activation = case.options.get("activation")
        if activation not in (None, "relu"):
            return None

        def matmul(calls: int) -> Array:
            for _ in range(calls):
                np.matmul(a, b, out=out)
                if rest:
                    np.add(out, rest[0], out=out)
                if activation:
                    np.maximum(out, 0, out=out)
            return out

        return matmul
    if case.op == "add":
        out = np.empty_like(inputs[0])

        def add(calls: int) -> Array:
            for _ in range(calls):
                np.add(inputs[0], inputs[1], out=out)
            return out

        return add
    if case.op == "relu":
        out = np.empty_like(inputs[0])

        def relu(calls: int) -> Array:
            for _ in range(calls):
                np.maximum(inputs[0], 0, out=out)
            return out

        return relu
    return None


def _torch(case: Case, inputs: list[Array]) -> Run | None:
    import torch  # type: ignore[import-not-found,unused-ignore]
    import torch.nn.functional as nn  # type: ignore[import-not-found,unused-ignore]

    torch.set_grad_enabled(False)
    x = [torch.from_numpy(array) for array in inputs]
    activation = case.options.get("activation")
    if case.op == "matmul" and activation in (None, "relu"):
        out = x[0] @ x[1]

        def step() -> Any:
            if len(x) > 2:
                torch.addmm(x[2], x[0], x[1], out=out)
            else:
                torch.mm(x[0], x[1], out=out)
            return nn.relu_(out) if activation else out

    elif case.op == "add":
        out = torch.empty_like(x[0])

        def step() -> Any:
            return torch.add(x[0], x[1], out=out)

    elif case.op == "relu":
        out = torch.empty_like(x[0])

        def step() -> Any:
            return torch.clamp_min(x[0], 0, out=out)

    elif case.op == "conv2d":
        stride, padding = case.shape[6], case.shape[7]

        def step() -> Any:
            return nn.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, stride, padding)

    else:
        return None

    def run(calls: int) -> Array:
        result = None
        for _ in range(calls):
            result = step()
        return np.asarray(result)

    return run


PEERS = {
    peer.name: peer
    for peer in (
        Peer("flashsched", "flashsched", _flashsched),
        Peer("numpy", "numpy", _numpy),
        Peer("numpy-avx512", "numpy", _numpy, {"OPENBLAS_CORETYPE": "SkylakeX"}),
        Peer("torch", "torch", _torch),
    )
}
"""The peers by name. ``numpy-avx512`` is NumPy with its BLAS's AVX-512 kernels forced, as an expert would on a CPU that
the BLAS does not recognise."""


def find_peers(names: list[str]) -> list[Peer]:
    """flashsched, and the peers called *names*; where none are named, all that are installed.

    Raises:
        TuneError: there is no such peer, or it is not installed.
    """
    chosen = [PEERS["flashsched"]]
    for name in names or [peer for peer in PEERS if peer != "flashsched" and PEERS[peer].installed]:
        if name not in PEERS:
            raise TuneError(f"no peer {name!r}", hint=did_you_mean(name, PEERS))
        if not PEERS[name].installed:
            raise TuneError(f"{name} is not installed", hint=f"pip install {PEERS[name].module}")
        if PEERS[name] not in chosen:
            chosen.append(PEERS[name])
    return chosen
