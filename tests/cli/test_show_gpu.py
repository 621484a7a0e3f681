"""flashsched show --stage ptx: the code of a GPU that need not be here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("device", "stage", "text"),
    [("a100-sim", "ptx", ".target sm_80"), ("mi300x-sim", "asm", ".amdhsa_kernel"), ("v100-sim", "llvm", "ptx_kernel")],
)
def test_show_the_code_of_a_gpu(cli: Cli, device: str, stage: str, text: str) -> None:
    done = cli("show", "matmul", "--shape", "64,64,64", "--device", device, "--stage", stage)
    assert (done.code, text in done.out) == (0, True)
