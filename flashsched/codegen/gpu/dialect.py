"""What NVIDIA's and AMD's GPUs call the same things in LLVM: blocks and threads, barriers, kernels and their memory."""

from __future__ import annotations

from typing import Final

from flashsched.codegen.emit_code import Code, Value, literal
from flashsched.codegen.gpu.target import GpuArch
from flashsched.errors import LoweringError
from flashsched.schedule.ir import LoopKind

__all__ = ["Dialect"]

_NVIDIA: Final = {
    LoopKind.BLOCK_X: "llvm.nvvm.read.ptx.sreg.ctaid.x", LoopKind.BLOCK_Y: "llvm.nvvm.read.ptx.sreg.ctaid.y",
    LoopKind.BLOCK_Z: "llvm.nvvm.read.ptx.sreg.ctaid.z", LoopKind.THREAD_X: "llvm.nvvm.read.ptx.sreg.tid.x",
    LoopKind.THREAD_Y: "llvm.nvvm.read.ptx.sreg.tid.y", LoopKind.THREAD_Z: "llvm.nvvm.read.ptx.sreg.tid.z",
}  # fmt: skip
_AMD: Final = {
    LoopKind.BLOCK_X: "llvm.amdgcn.workgroup.id.x", LoopKind.BLOCK_Y: "llvm.amdgcn.workgroup.id.y",
    LoopKind.BLOCK_Z: "llvm.amdgcn.workgroup.id.z", LoopKind.THREAD_X: "llvm.amdgcn.workitem.id.x",
    LoopKind.THREAD_Y: "llvm.amdgcn.workitem.id.y", LoopKind.THREAD_Z: "llvm.amdgcn.workitem.id.z",
}  # fmt: skip
_MOST_BLOCKS = (2**31 - 1, 65535, 65535)  # along x, y and z (CUDA C++ Programming Guide, technical specifications)

_REGISTERS, _THREADS, _BLOCKS = 65536, 1024, 16  # of a unit: what all have at least, but for the registers of sm_37
_BASE_REGISTERS = 40  # of a thread: addresses, counters, and a few loads on their way


class Dialect:
    """How code for *arch* is written."""

    def __init__(self, arch: GpuArch) -> None:
        self.arch = arch

    def index(self, code: Code, kind: LoopKind, turns: int | None) -> Value:
        """Which block or thread along an axis the code is run by, below *turns*, as an i64."""
        name = (_NVIDIA if self.arch.is_nvidia else _AMD)[kind]
        axis = "xyz".index(kind.value[-1])
        most = turns if turns is not None else _MOST_BLOCKS[axis]
        code.module.declare(name, "i32", [])
        number = code.first(f"call range(i32 0, {max(most, 1)}) i32 @{name}()", kind.value.replace("Idx", ""))
        return Value(code.first(f"zext nneg i32 {number} to i64", kind.value.replace("Idx", "")), "i64")

    def barrier(self, code: Code) -> None:
        """All threads of a block wait, and see what the others wrote."""
        if self.arch.is_nvidia:
            name = "llvm.nvvm.barrier.cta.sync.aligned.all"
            code.module.declare(name, "void", ["i32"], "convergent nounwind")
            code.line(f"call void @{name}(i32 0)")
            return
        code.line('fence syncscope("workgroup") release')
        code.module.declare("llvm.amdgcn.s.barrier", "void", [], "convergent nounwind")
        code.line("call void @llvm.amdgcn.s.barrier()")
        code.line('fence syncscope("workgroup") acquire')

    def prefetch(self, code: Code, pointer: str) -> None:
        """Bring the line at *pointer*, in global memory, into L2."""
        if self.arch.is_nvidia:
            code.line(f'call void asm sideeffect "prefetch.L2 [$0];", "l"(ptr {pointer})')

    def linkage(self, block: tuple[int, ...], own_bytes: int) -> tuple[str, str]:
        """What a kernel with so many threads in a block is called before its name, and its attributes.

        *own_bytes* of memory are each thread's own. They decide how many blocks a unit is to hold: left alone, ptxas
        spills a large tile to have many, and where it may take all registers, it takes them to load far ahead.
        """
        x, y, z = block
        if self.arch.is_nvidia:
            threads = x * y * z
            fit = _REGISTERS // (threads * (_BASE_REGISTERS + own_bytes // 4))
            blocks = max(1, min(fit, _THREADS // threads, _BLOCKS))
            return "ptx_kernel", f'nounwind "nvvm.reqntid"="{x},{y},{z}" "nvvm.minctasm"="{blocks}"'
        return "amdgpu_kernel", f'nounwind "amdgpu-flat-work-group-size"="{x * y * z},{x * y * z}"'

    def global_pointer(self) -> str:
        """The type in which a kernel is passed an array."""
        return "ptr" if self.arch.is_nvidia else "ptr addrspace(1)"

    def generic(self, code: Code, pointer: str, hint: str) -> str:
        """*pointer*, as it is passed, as a pointer into any memory."""
        return pointer if self.arch.is_nvidia else code.first(f"addrspacecast ptr addrspace(1) {pointer} to ptr", hint)

    def shared(self, code: Code, name: str, offset: int) -> str:
        """A pointer to the byte *offset* of the shared memory *name*."""
        start = code.first(f"addrspacecast ptr addrspace(3) @{name} to ptr", "shared")
        return start if not offset else code.first(f"getelementptr i8, ptr {start}, i64 {offset}", "shared")

    def require_fits(self, shared_bytes: int, name: str) -> None:
        """Refuse more shared memory than a block may have.

        Raises:
            LoweringError: it is more.
        """
        most = self.arch.shared_bytes
        if shared_bytes > most:
            raise LoweringError(
                f"a block of {name} has {shared_bytes} bytes of shared memory, and {self.arch.name} has {most}",
                hint="make tiles smaller, or set_scope('local') for what each thread needs alone",
            )

    def lane(self, code: Code) -> Value:
        """Which lane of its warp a thread is, as an i32."""
        name = "llvm.nvvm.read.ptx.sreg.laneid"
        code.module.declare(name, "i32", [])
        return Value(code.first(f"call range(i32 0, 32) i32 @{name}()", "lane"), "i32")

    @staticmethod
    def scaled(code: Code, pointer: str, index: Value, size: int) -> str:
        """*pointer* moved by *index* times *size* bytes."""
        moved = code.op("mul nuw nsw", index, literal(size, "i64"))
        return code.make(f"getelementptr i8, ptr {pointer}, i64 {moved.text}", "ptr").text
