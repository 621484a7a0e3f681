"""What is measured: named cases, each an operator of one shape, in two sets.

``table`` is what the README shows. ``wide`` is where a compiler that only fits the table would fall: sizes that divide
nothing, skinny products, batches of tiny ones, and the layers of BERT-base, ResNet-50 and MobileNetV2.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flashsched.bench.computations import COMPUTATIONS, Array, Computation
from flashsched.errors import TuneError, did_you_mean

__all__ = ["SETS", "Case", "case_of", "find_cases"]

_SLACK = 16.0  # how many times the expected rounding error of a sum is let pass; a lost term is far beyond it
_ROUNDINGS = 4.0  # roundings of the result that are let pass


@dataclass(frozen=True)
class Case:
    """One computation that all peers do.

    Attributes:
        name: what it is called.
        op: the operator.
        shape: its sizes.
        dtype: of all its arrays.
        options: the operator's.
        transposed: inputs that lie in memory with their last two axes exchanged.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)
    transposed: tuple[int, ...] = ()

    @property
    def computation(self) -> Computation:
        """What it computes."""
        return COMPUTATIONS[self.op]

    @property
    def flops(self) -> int:
        """Arithmetic operations of one call."""
        return self.computation.flops(self.shape, self.options)

    @property
    def bytes(self) -> int:
        """Bytes that a call must move at least: each input and the output, once."""
        shapes = [*self.computation.inputs(self.shape, self.options), self.out_shape]
        return np.dtype(self.dtype).itemsize * sum(math.prod(shape) for shape in shapes)

    @property
    def moves(self) -> bool:
        """Whether it moves data more than it computes, and its rate is told in bytes."""
        return self.flops < 2 * self.bytes

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return tuple(self.computation.output(self.shape, self.options))

    def inputs(self, seed: int = 0) -> list[Array]:
        """Random inputs, normally distributed; those that are `transposed` are views."""
        rng = np.random.default_rng(seed)
        made = []
        for index, shape in enumerate(self.computation.inputs(self.shape, self.options)):
            drawn = rng.standard_normal(shape, dtype=np.float32).astype(self.dtype)
            made.append(np.ascontiguousarray(drawn.swapaxes(-1, -2)).swapaxes(-1, -2) if index in self.transposed
                        else drawn)  # fmt: skip
        return made

    def exact(self, inputs: Sequence[Array]) -> Array:
        """The result in float64."""
        return self.computation.exact(self.shape, self.options, [array.astype(np.float64) for array in inputs])

    def error(self, got: Array, exact: Array) -> float:
        """The largest error of *got*, as a share of what is allowed there: up to 1 all is well.

        A sum of *n* terms of precision eps errs by about ``eps * sqrt(n) * scale`` (N. Higham, "Accuracy and Stability
        of Numerical Algorithms", 2002, 4.2), *scale* being the largest result.
        """
        if got.shape != exact.shape or got.dtype != np.dtype(self.dtype):
            return math.inf
        if not got.size:
            return 0.0
        size = np.abs(exact)
        eps = float(np.finfo(self.dtype).eps)
        allowed = eps * (
            _ROUNDINGS * size + _SLACK * math.sqrt(self.computation.terms(self.shape)) * size.max() + 1e-30
        )
        worst = float(np.max(np.abs(got - exact) / allowed))
        return math.inf if math.isnan(worst) else worst

    def to_json(self) -> dict[str, Any]:
        """The case as JSON values."""
        return {
            "name": self.name,
            "op": self.op,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "options": self.options,
            "transposed": list(self.transposed),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Case:
        """The case that `to_json` gave."""
        shape, transposed = tuple(data["shape"]), tuple(data["transposed"])
        return cls(data["name"], data["op"], shape, data["dtype"], data["options"], transposed)


def _matmul(m: int, n: int, k: int, also: str = "", **options: Any) -> Case:
    size = f"{m}" if m == n == k else f"{m}x{n}x{k}"
    return Case(f"matmul-{size}{also}", "matmul", (m, n, k), options=options)


def _conv2d(channels: int, size: int, out: int, window: int, stride: int = 1, groups: int = 1) -> Case:
    """A convolution that keeps a square image's size but for its stride, named as papers write it."""
    kind = "depthwise" if groups == channels == out else "conv2d"
    to = "" if kind == "depthwise" else f"-to-{out}"
    name = f"{kind}-{channels}x{size}x{size}{to}-{window}x{window}{f'-by-{stride}' if stride > 1 else ''}"
    options = {"groups": groups} if groups > 1 else {}
    return Case(name, "conv2d", (1, channels, size, size, out, window, stride, window // 2), options=options)


def _batch(b: int, m: int, n: int, k: int) -> Case:
    return Case(f"batch-matmul-{b}x{m}x{n}x{k}", "batch_matmul", (b, m, n, k))


def _attention(heads: int, length: int, width: int, causal: bool = False) -> Case:
    name = f"attention-{heads}x{length}x{width}{'-causal' * causal}"
    return Case(name, "attention", (1, heads, length, width), options={"causal": True} if causal else {})


def _rows(op: str, m: int, n: int) -> Case:
    return Case(f"{op}-{m}x{n}", op, (m, n))


TABLE = (
    *(_matmul(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)),
    _conv2d(64, 56, 64, 3),
    _conv2d(3, 224, 64, 7, 2),
    _attention(8, 512, 64),
    _rows("softmax", 4096, 1024),
    _rows("layernorm", 4096, 1024),
    _rows("relu", 4096, 4096),
)

WIDE = (
    # sizes that divide nothing
    _matmul(127, 127, 127),
    _matmul(509, 491, 499),
    _matmul(1021, 1021, 1021),
    # skinny
    _matmul(1, 4096, 4096),
    _matmul(4096, 1, 4096),
    _matmul(8192, 64, 64),
    _matmul(64, 64, 8192),
    # batches of small products
    _batch(512, 16, 16, 16),
    _batch(64, 32, 32, 32),
    _batch(32, 64, 64, 64),
    _batch(12, 128, 128, 64),
    # other arrays, other epilogues
    Case("matmul-512-float64", "matmul", (512, 512, 512), "float64"),
    Case("matmul-1024-float64", "matmul", (1024, 1024, 1024), "float64"),
    Case("matmul-512-transposed-a", "matmul", (512, 512, 512), transposed=(0,)),
    Case("matmul-512-transposed-b", "matmul", (512, 512, 512), transposed=(1,)),
    _matmul(512, 512, 512, "-bias-relu", bias=True, activation="relu"),
    # BERT-base, 128 tokens
    _matmul(128, 768, 768, "-bias", bias=True),
    _matmul(128, 3072, 768, "-bias-gelu", bias=True, activation="gelu"),
    _matmul(128, 768, 3072, "-bias", bias=True),
    _attention(12, 128, 64),
    _rows("softmax", 1536, 128),
    _rows("layernorm", 128, 768),
    # ResNet-50
    _conv2d(64, 56, 256, 1),
    _conv2d(256, 56, 64, 1),
    _conv2d(256, 56, 512, 1, 2),
    _conv2d(128, 56, 128, 3, 2),
    _conv2d(128, 28, 128, 3),
    _conv2d(256, 14, 256, 3),
    _conv2d(1024, 14, 256, 1),
    _conv2d(512, 7, 512, 3),
    # MobileNetV2
    _conv2d(32, 112, 32, 3, groups=32),
    _conv2d(96, 112, 96, 3, 2, groups=96),
    _conv2d(144, 56, 144, 3, groups=144),
    _conv2d(384, 14, 384, 3, groups=384),
    _conv2d(960, 7, 960, 3, groups=960),
    # long sequences, and what decoders do
    _attention(8, 2048, 64),
    _attention(8, 512, 64, causal=True),
    _rows("rmsnorm", 4096, 1024),
    _rows("add", 4096, 4096),
)

SETS = {"table": TABLE, "wide": WIDE, "all": (*TABLE, *WIDE)}
"""The sets of cases by name."""


def case_of(op: str, shape: Sequence[int], dtype: str = "float32", options: Mapping[str, Any] | None = None) -> Case:
    """A case of any shape, named after what it is.

    >>> case_of("matmul", (300, 700, 1100), options={"bias": True}).name
    'matmul-300x700x1100-bias'

    Raises:
        TuneError: nothing is said of how other libraries compute *op* or this option of it; or *dtype* is none that
            they all have.
    """
    if op not in COMPUTATIONS:
        raise TuneError(f"{op} is not measured beside other libraries", hint=did_you_mean(op, COMPUTATIONS))
    if dtype not in ("float32", "float64"):
        raise TuneError(f"the libraries are compared in float32 and float64, not {dtype}")
    options = dict(options or {})
    for key, value in options.items():
        if value not in _OPTIONS.get(op, {}).get(key, ()):
            raise TuneError(f"the other libraries are not asked for {op} with {key}={value}")
    words = [op, "x".join(map(str, shape)), *([] if dtype == "float32" else [dtype])]
    words += [key if value is True else str(value) if isinstance(value, str) else f"{key}{value}"
              for key, value in options.items()]  # fmt: skip
    case = Case("-".join(words), op, tuple(shape), dtype, options)
    if any(size < 1 for array in (*case.computation.inputs(case.shape, options), case.out_shape) for size in array):
        raise TuneError(f"there is nothing to measure in a shape of {case.shape}")
    return case


_OPTIONS: dict[str, dict[str, Container[Any]]] = {
    "matmul": {"bias": (True,), "activation": ("relu", "gelu")},
    "conv2d": {"bias": (True,), "groups": range(1, 1 << 20), "dilation": range(1, 1 << 20)},
    "attention": {"causal": (True,)},
}
"""The values of an operator's options that every peer knows, by operator."""


def find_cases(patterns: Sequence[str], group: str = "table") -> list[Case]:
    """The cases, of all sets, whose names or operators match one of *patterns*; a whole set where none are given.

    >>> [case.name for case in find_cases(["softmax*", "rmsnorm"])]
    ['softmax-4096x1024', 'softmax-1536x128', 'rmsnorm-4096x1024']

    Raises:
        TuneError: a pattern matches nothing, or there is no such set.
    """
    if group not in SETS:
        raise TuneError(f"no set of cases {group!r}", hint=did_you_mean(group, SETS))
    if not patterns:
        return list(SETS[group])
    found: dict[str, Case] = {}
    for pattern in patterns:
        hits = [case for case in SETS["all"] if fnmatch.fnmatchcase(case.name, pattern) or case.op == pattern]
        if not hits:
            hint = did_you_mean(pattern, [case.name for case in SETS["all"]])
            raise TuneError(f"no benchmark case {pattern!r}", hint=hint)
        found.update({case.name: case for case in hits})
    return list(found.values())
