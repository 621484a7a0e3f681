"""LLVM text in, machine code out: the only file that speaks to llvmlite's parser, optimiser, code generator and loader.

It knows nothing of kernels, caches or threads: `jit` puts those around it, and `threads` compiles its own runtime with
it. It stands apart from them so that imports go one way.

Vectorisation by LLVM is off, and so is its unrolling of loops: the schedule decides both, and the emitter writes what
the schedule says. What is left for LLVM is scalar clean-up, addressing, register allocation and scheduling.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llvmlite
import llvmlite.binding as binding

from flashsched.errors import LoweringError

if TYPE_CHECKING:
    from flashsched.codegen.target import Target

__all__ = [
    "LoadedObject",
    "Module",
    "emit_assembly",
    "emit_bitcode",
    "emit_object",
    "exported_names",
    "load_object",
    "optimize",
    "options_text",
    "with_cpu",
]

SPEED_LEVEL = 3
"""LLVM's -O3 pipeline, less the vectorisers and the unroller."""

_DEFINE = re.compile(r'^define\b(?P<linkage>[^@\n]*)@(?P<name>"[^"\n]+"|[-\w$.]+)\s*\(.*\{[ \t]*$', re.MULTILINE)
_DECLARE = re.compile(r'^declare\b[^@\n]*@(?P<name>"[^"\n]+"|[-\w$.]+)\s*\(', re.MULTILINE)
_ERROR_LINE = re.compile(r"<string>:(\d+):")
_LIBMVEC = "_ZGV"  # the prefix of the vector function ABI, in which glibc's libmvec names its functions


def options_text() -> str:
    """What besides text and target decides the object code: versions and pass options, for a cache key."""
    return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, binding.llvm_version_info))}, O{SPEED_LEVEL}"


def exported_names(ir_text: str) -> tuple[str, ...]:
    """The functions that *ir_text* defines for others to call, in its order."""
    found = _DEFINE.finditer(ir_text)
    return tuple(m["name"].strip('"') for m in found if not re.search(r"\b(internal|private)\b", m["linkage"]))


class _Context(binding.context.ContextRef):  # type: ignore[misc]
    """A context that is freed when it is told, which is after its module."""

    def __init__(self, made: Any) -> None:
        super().__init__(made._ptr)
        made.detach()

    def __del__(self) -> None:
        """Do nothing: Python's garbage collector frees what hangs together in any order, and LLVM crashes then."""


@dataclass(eq=False)
class Module:
    """A module of LLVM's (*ref*, llvmlite's) with the context that it lives in."""

    ref: Any
    _context: _Context

    def __str__(self) -> str:
        return str(self.ref)

    def __del__(self) -> None:
        self.ref.close()
        self._context.close()


def optimize(ir_text: str, target: Target) -> Module:
    """Parse, verify and optimise *ir_text* for *target*.

    Raises:
        LoweringError: LLVM refuses the text; the message shows the line, marked.
    """
    text = _with_attributes(ir_text, target)
    context = _Context(binding.create_context())
    try:
        module = Module(binding.parse_assembly(text, context), context)
    except RuntimeError as error:
        context.close()
        raise _refused(str(error), text) from None
    ref = module.ref
    try:
        ref.triple = target.triple
        machine = _machine(target.triple, target.cpu, target.features)
        ref.data_layout = str(machine.target_data)
        ref.verify()
    except RuntimeError as error:
        raise _refused(str(error), text) from None
    options = binding.create_pipeline_tuning_options(SPEED_LEVEL)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_interleaving = False
    options.loop_unrolling = False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(ref, builder)
    return module


def emit_object(module: Module, target: Target, *, ahead: bool = False) -> bytes:
    """Object code of an optimised module, to be loaded here or, *ahead* of time, to be linked by a system's linker.

    Code generation changes the module, so it works on a clone.
    """
    with module.ref.clone() as clone:
        code: bytes = _machine(target.triple, target.cpu, target.features, ahead).emit_object(clone)
    return code


def emit_assembly(module: Module, target: Target, *, ahead: bool = False) -> str:
    """Assembler text of an optimised module, as `emit_object` would encode it."""
    with module.ref.clone() as clone:
        text: str = _machine(target.triple, target.cpu, target.features, ahead).emit_assembly(clone)
    return text


def emit_bitcode(module: Module) -> bytes:
    """LLVM's bitcode of a module."""
    code: bytes = module.ref.as_bitcode()
    return code


@dataclass(frozen=True)
class LoadedObject:
    """Object code in this process's memory, callable for as long as this lives."""

    addresses: Mapping[str, int]
    _tracker: Any

    def pin(self) -> None:
        """Never unload: for code that threads of our own may stand in until the process ends."""
        self._tracker.detach()


def load_object(code: bytes, ir_text: str, symbols: Mapping[str, int]) -> LoadedObject:
    """Load *code*, which was compiled from *ir_text*; about 0.4 ms.

    Args:
        code: an object file for this process's architecture.
        ir_text: the text it came from, which names what it exports and what it calls.
        symbols: addresses of functions that the process itself does not export.

    Raises:
        LoweringError: the text calls a function that is neither in *symbols* nor in the process.
    """
    if _LIBMVEC in ir_text:
        _load_libmvec()
    missing = [name for name in _called_names(ir_text) if name not in symbols and not _in_process(name)]
    if missing:
        raise LoweringError(
            f"the code calls {', '.join(missing)}, which this process does not have",
            hint="import its LLVM text (pragma import_llvm), or load its library with ctypes.RTLD_GLOBAL",
        )
    names = exported_names(ir_text)
    library = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in names:
        library.export_symbol(name)
    for name, address in symbols.items():
        library.import_symbol(name, address)
    try:
        tracker = library.link(_linker(), f"flashsched.{next(_serial)}")
    except RuntimeError as error:
        raise LoweringError(
            f"the loader refuses the object code of {', '.join(names) or 'an empty module'}: {str(error).strip()}",
            hint="the code generator may have called a helper that this process lacks, e.g. for float16 or bfloat16",
        ) from None
    return LoadedObject({name: tracker[name] for name in names}, tracker)


_serial = itertools.count()


@functools.cache
def _linker() -> Any:
    """The process's LLJIT: it lives to the end, when llvmlite frees nothing, so kernels may go in any order."""
    _initialize()
    return binding.create_lljit_compiler(use_jit_link=True, suppress_errors=True)


@functools.cache
def _initialize() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()


@functools.cache
def _initialize_all() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


@functools.lru_cache(maxsize=8)
def _machine(triple: str, cpu: str, features: str, ahead: bool = False) -> Any:
    arch = triple.split("-")[0]
    if arch == binding.get_process_triple().split("-")[0]:
        _initialize()
    else:
        _initialize_all()
    family = binding.Target.from_triple(triple)
    return family.create_target_machine(
        cpu=cpu,
        features=features,
        opt=3,
        # PIC in the small code model: the loader keeps one module's sections together and reaches the rest through
        # stubs. In WebAssembly PIC is for code that is linked when it is loaded.
        reloc="static" if arch.startswith("wasm") else "pic",
        codemodel="default",
        jit=not ahead,
        abiname="lp64d" if arch == "riscv64" and "+d" in features.split(",") else "",
    )


@functools.cache
def _load_libmvec() -> None:
    for name in ("libmvec.so.1", "libmvec.so"):
        try:
            binding.load_library_permanently(name)
        except RuntimeError:
            continue
        return


def _called_names(ir_text: str) -> list[str]:
    names = [m["name"].strip('"') for m in _DECLARE.finditer(ir_text)]
    return [name for name in names if not name.startswith("llvm.")]


def _in_process(name: str) -> bool:
    return hasattr(_process(), name)


@functools.cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _with_attributes(ir_text: str, target: Target) -> str:
    """*ir_text* with the attributes that llvmlite can only set through text on each function it defines."""
    if target.vector_bits < 512:
        return ir_text
    # Without this, LLVM splits 512-bit vectors in two on CPU models that prefer 256 bits.
    return _DEFINE.sub(lambda m: m[0].rstrip()[:-1] + '"prefer-vector-width"="512" {', ir_text)


def with_cpu(ir_text: str, target: Target) -> str:
    """*ir_text* with functions that name their CPU, for a compiler that is not told of it."""
    words = f'"target-cpu"="{target.cpu}" "target-features"="{target.features}"'
    return _DEFINE.sub(lambda m: f"{m[0].rstrip()[:-1]}{words} {{", ir_text)


def _refused(message: str, text: str) -> LoweringError:
    """LLVM's *message* about *text*, with the line it speaks of between its neighbours."""
    reason = " ".join(message.replace("LLVM IR parsing error\n", "").split("\n")[0].split())
    at = _ERROR_LINE.search(message)
    shown = None
    if at:
        number = int(at[1])
        lines = text.split("\n")
        first = max(0, number - 3)
        window = [f"{i + 1}: {lines[i]}" for i in range(first, min(len(lines), number + 2))]
        window[number - 1 - first] += "   <--"
        shown = "\n".join(window)
    hint = "this is a fault of the emitter, not of the schedule"
    return LoweringError(f"LLVM refuses the code: {reason}", shown=shown, hint=hint)
