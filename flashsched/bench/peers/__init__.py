"""Who is measured: one file a library, which prepares a case in its own best way."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.bench.peers.flashsched import FLASHSCHED
from flashsched.bench.peers.halide import HALIDE
from flashsched.bench.peers.jax import JAX
from flashsched.bench.peers.numpy import NUMPY, NUMPY_AVX512
from flashsched.bench.peers.onnxruntime import ONNXRUNTIME
from flashsched.bench.peers.openvino import OPENVINO
from flashsched.bench.peers.peer import Peer, Way, Work, aligned
from flashsched.bench.peers.torch import TORCH
from flashsched.bench.peers.tvm import TVM
from flashsched.errors import TuneError, did_you_mean

__all__ = ["PEERS", "Peer", "Way", "Work", "aligned", "find_peers"]

PEERS = {
    peer.name: peer
    for peer in (FLASHSCHED, NUMPY, NUMPY_AVX512, TORCH, JAX, ONNXRUNTIME, OPENVINO, HALIDE, TVM)
}  # fmt: skip
"""The peers by name."""

_SHORT = {"ort": "onnxruntime"}


def find_peers(names: Sequence[str]) -> list[Peer]:
    """flashsched, and the peers called *names*; where none are named, all that are installed.

    Raises:
        TuneError: there is no such peer, or it is not installed.
    """
    chosen = [FLASHSCHED]
    for called in names or [peer.name for peer in PEERS.values() if peer.installed]:
        name = _SHORT.get(called, called)
        if name not in PEERS:
            raise TuneError(f"no peer {name!r}", hint=did_you_mean(name, PEERS))
        if not PEERS[name].installed:
            raise TuneError(f"{name} is not installed", hint=f"pip install {PEERS[name].package}")
        if PEERS[name] not in chosen:
            chosen.append(PEERS[name])
    return chosen
