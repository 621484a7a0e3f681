"""``tvm.transform``: the context that programs build in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PassContext"]


class PassContext:
    """``with tvm.transform.PassContext(opt_level=3):`` around a build; the level and the passes named change nothing.

    Lowering is one fixed list of passes, `flashsched.codegen.lower.PASSES`.

    Raises:
        NotImplementedError: *config* adds passes of one's own, which would change the program.
    """

    def __init__(
        self,
        opt_level: int = 2,
        required_pass: Sequence[str] | None = None,
        disabled_pass: Sequence[str] | None = None,
        instruments: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.opt_level = opt_level
        self.config = dict(config or {})
        if self.config.get("tir.add_lower_pass"):
            raise NotImplementedError(
                "tir.add_lower_pass is not there: the passes are the list flashsched.codegen.lower.PASSES"
            )

    def __enter__(self) -> PassContext:
        return self

    def __exit__(self, *exc: object) -> None:
        return None
