"""From a scheduled nest to a kernel: passes, the interpreter, LLVM IR, the JIT, threads."""
