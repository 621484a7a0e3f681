"""Ahead of time: kernels as files, for C programs, for other machines, and for Python without a compiler.

`save` writes them: `wrapper` gives each kernel a C function, `c_header` declares it, `record` describes it for the
loader, `runtime` brings the threads, `linker` asks the system's linker for a shared library. `library` loads one, and
needs neither LLVM nor any of the others but `record`.
"""

__all__: list[str] = []
