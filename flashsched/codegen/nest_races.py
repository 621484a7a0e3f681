"""Races, as the interpreter finds them: which accesses are compared with other turns', and the lines that do it.

Each pair of a buffer and a concurrent loop that stores to it has a number, its *tag*. ``W`` and ``R`` of a tag hold, by
element, the turn that last wrote it and the first that read it, while the loop runs; ``T`` is the present turn of a
loop and ``B`` its first. What another turn has written may be neither read nor written, and what it has read may not
be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flashsched.errors import LoweringError
from flashsched.schedule.ir import Buffer, For
from flashsched.te.expr import Var

__all__ = ["Loop", "Path", "Races"]


@dataclass(frozen=True)
class Loop:
    """A loop around a statement; *number* counts the concurrent ones, *depth* says how many of them enclose it."""

    node: For
    slot: int
    number: int
    cooperative: bool
    combines: tuple[str, ...]  # buffers whose elements are combined of what the turns have, so that turns meet there


Path = tuple[Loop, ...]


class Races:
    """What must be compared where, while a nest is written.

    Attributes:
        tags: the (buffer, loop number) pairs so far; a tag is a place in it.
        stored: by a loop's variable, the buffers that are stored to in it.
        depth: how many loops enclose a buffer's memory.
        path: the loops around the statement that is being written.
    """

    def __init__(self, tags: list[tuple[Buffer, int]]) -> None:
        self.tags = tags
        self.stored: dict[Var, set[Buffer]] = {}
        self.depth: dict[Buffer, int] = {}
        self.path: Path = ()

    def tracked(self, buffer: Buffer, storing: bool) -> list[int]:
        """The numbers of the (buffer, loop) pairs in which an access here must be compared with other turns'."""
        if buffer not in self.depth:
            raise LoweringError(f"{buffer.name} is used outside the memory made for it")
        together = self.sharers() if storing else []
        found = []
        for n, loop in enumerate(self.path[self.depth[buffer] :], self.depth[buffer]):
            meets = n in together or buffer.name in loop.combines
            if loop.number >= 0 and not meets and buffer in self.stored[loop.node.var]:
                tag = (buffer, loop.number)
                if tag not in self.tags:
                    self.tags.append(tag)
                found.append(self.tags.index(tag))
        return found

    def reading(self, tags: Sequence[int], rest: str) -> list[str]:
        """Lines that compare a read of element ``e`` with other turns' writes, and remember it."""
        lines = []
        for tag in tags:
            loop = self.tags[tag][1]
            lines.append(f"w = W[{tag}][e]")
            lines.append(f"if T[{loop}] != w >= B[{loop}]: race({tag}, 'reads', 'wrote', w{rest})")
            lines.append(f"if R[{tag}][e] < B[{loop}]: R[{tag}][e] = T[{loop}]")
        return lines

    def writing(self, tags: Sequence[int], rest: str) -> list[str]:
        """Lines that compare a write to element ``e`` with other turns' reads and writes, and remember it."""
        lines = []
        for tag in tags:
            loop = self.tags[tag][1]
            lines.append(f"w, r = W[{tag}][e], R[{tag}][e]")
            lines.append(f"if T[{loop}] != w >= B[{loop}]: race({tag}, 'writes', 'wrote', w{rest})")
            lines.append(f"if T[{loop}] != r >= B[{loop}]: race({tag}, 'writes', 'read', r{rest})")
            lines.append(f"W[{tag}][e] = T[{loop}]")
        return lines

    def sharers(self) -> list[int]:
        """The places in the path of the loops over threads that share the turns of a cooperative loop further in."""
        last = max((n for n, loop in enumerate(self.path) if loop.cooperative), default=0)
        return [n for n in range(last) if self.path[n].node.kind.is_thread and not self.path[n].cooperative]

    def sharing(self, buffer: Buffer) -> list[int]:
        """The loops over threads that share out a store here, which stands in a cooperative loop."""
        inner = [n for n, loop in enumerate(self.path) if loop.cooperative]
        if not inner or self.depth[buffer] > inner[-1]:
            return []
        if any(n < self.depth[buffer] for n in self.sharers()):
            raise LoweringError(
                f"the cooperative loop {self.path[inner[-1]].node.var.name!r} stores to {buffer.name}, and each thread "
                f"has a {buffer.name} of its own",
                hint="give the buffer the scope 'shared', and memory outside the loops over threads",
            )
        return [self.path[n].number for n in self.sharers() if self.path[n].number >= 0]
