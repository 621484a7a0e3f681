"""The threads that a saved kernel brings along where its target has threads; elsewhere parallel loops run serially.

Apart from `flashsched.codegen.threads`, which compiles the same runtime for this process and is told by Python how many
threads to use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flashsched.codegen.target import Target
from flashsched.codegen.threads import MAX_THREADS, runtime_text

__all__ = ["has_threads", "parallel_text"]

_SERIAL = """
define void @fs_parallel_for(ptr %task, ptr %context, i64 %n) {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %run, label %done
run:
  call void %task(ptr %context, i64 0, i64 %n)
  br label %done
done:
  ret void
}
"""

_CPUS: Final = {
    "linux": f"""
; The CPUs that this process may use.
define internal i32 @cpus() {{
  %mask = alloca [128 x i8], align 8
  call void @llvm.memset.p0.i64(ptr %mask, i8 0, i64 128, i1 false)
  %failed = call i32 @sched_getaffinity(i32 0, i64 128, ptr %mask)
  %words = load <16 x i64>, ptr %mask, align 8
  %counts = call <16 x i64> @llvm.ctpop.v16i64(<16 x i64> %words)
  %count = call i64 @llvm.vector.reduce.add.v16i64(<16 x i64> %counts)
  %count.32 = trunc i64 %count to i32
  %some = call i32 @llvm.smax.i32(i32 %count.32, i32 1)
  %few = call i32 @llvm.smin.i32(i32 %some, i32 {MAX_THREADS})
  ret i32 %few
}}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare <16 x i64> @llvm.ctpop.v16i64(<16 x i64>)
declare i64 @llvm.vector.reduce.add.v16i64(<16 x i64>)
""",
    "darwin": f"""
define internal i32 @cpus() {{
  %count = call i64 @sysconf(i32 58)  ; _SC_NPROCESSORS_ONLN
  %count.32 = trunc i64 %count to i32
  %some = call i32 @llvm.smax.i32(i32 %count.32, i32 1)
  %few = call i32 @llvm.smin.i32(i32 %some, i32 {MAX_THREADS})
  ret i32 %few
}}
declare i64 @sysconf(i32)
""",
}


def has_threads(target: Target) -> bool:
    """Whether parallel loops run on several threads there: systems with 64 bits and the threads of POSIX."""
    return target.system in _CPUS and target.pointer_bits == 64


def parallel_text(target: Target, prefix: str) -> str:
    """LLVM text of ``fs_parallel_for``, which parallel kernels call.

    With threads, it also defines ``void PREFIX_set_num_threads(int)`` and ``int PREFIX_num_threads(void)``.
    """
    if not has_threads(target):
        return _SERIAL
    pool = runtime_text(target).replace("define void @fs_parallel_for(", "define internal void @fs_parallel_ready(")
    words = {"@PREFIX@": prefix, "@MAX_THREADS@": str(MAX_THREADS), "@CPUS@": _CPUS[target.system]}
    text = Path(__file__).with_name("threads.ll").read_text(encoding="utf-8")
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return f"{pool}\n{text}"
