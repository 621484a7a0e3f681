"""A whole program: a nest with the arrays that its caller passes, and the sizes that it speaks of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from flashsched.schedule.buffer import Buffer
from flashsched.schedule.ir import Let, Stmt, stmt_exprs, walk_stmt
from flashsched.te.expr import Expr, SizeVar, Var
from flashsched.te.sizes import Size, sizes_in

__all__ = ["Program"]


@dataclass(frozen=True, eq=False)
class Program:
    """A nest with the buffers that its caller passes: inputs, then outputs; *imports* names LLVM texts for it.

    *needs* are expressions of sizes that must not be below 0, or the program means nothing: the dimensions of what is
    computed inside it. *passed* are sizes that the caller passes, too, each with its place among all that is passed.
    """

    name: str
    params: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: Stmt
    imports: tuple[str, ...] = ()
    needs: tuple[Expr, ...] = ()
    passed: tuple[tuple[int, SizeVar], ...] = ()

    @cached_property
    def sizes(self) -> tuple[SizeVar, ...]:
        """The sizes that the program speaks of, in the order of its arrays' dimensions."""
        given: list[Size] = [size for buffer in (*self.params, *self.outputs) for size in buffer.shape]
        given += [size for _, size in self.passed]
        found = sizes_in((*given, *self.needs, *stmt_exprs(self.body)))
        let = {node.var for node in walk_stmt(self.body) if isinstance(node, Let)}
        known = set(sizes_in(given))
        return tuple(size for size in found if size in known or size not in let)

    @property
    def scalars(self) -> tuple[Var, ...]:
        """What the caller passes besides arrays: the sizes, then the strides that are no numbers."""
        apart = (step for buffer in (*self.params, *self.outputs) for step in buffer.strides or ())
        return (*self.sizes, *(step for step in apart if isinstance(step, Var)))

    def __str__(self) -> str:
        from flashsched.schedule.printer import program_text  # the printer is built on these nodes

        return program_text(self)

    def with_body(self, body: Stmt) -> Program:
        """This program around another body."""
        return replace(self, body=body)
