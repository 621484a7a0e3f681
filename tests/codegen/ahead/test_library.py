"""Libraries of kernels loaded again: called as the kernels that were saved, and refused where they can't run."""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.ahead import library
from flashsched.codegen.ahead.record import Record, records_in
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.signature import Param, Signature
from flashsched.errors import KernelError, LibraryError, WorkspaceError

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang", "ld"))), reason="needs a linker")


def product() -> Kernel:
    A, B = te.placeholder((8, 5), name="A"), te.placeholder((5, 6), name="B")
    k = te.reduce_axis((0, 5), name="k")
    C = te.compute((8, 6), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    s = te.create_schedule(C)
    s[C].parallel(s[C].op.axis[0])
    return fs.build(s, [A, B, C], name="mm")


def windows() -> Kernel:
    """Two outputs of any size, one of them by way of memory of its own; a scalar of bfloat16, and a size passed."""
    n, w, x = te.var("n"), te.var("w"), te.scalar("x", "bfloat16")
    A = te.placeholder((n,), "bfloat16", name="A")
    B = te.compute((n,), lambda i: A[i] * x, name="B")
    C = te.compute((te.max(n - 2, 0),), lambda i: B[i] + B[i + 2], name="C")
    D = te.compute((n // 2 + w,), lambda i: i, name="D")
    return fs.build(te.create_schedule([C, D]), [A, x, w, C, D], name="windows")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "libops.so"
    return fs.save_library(path, {"mm": product(), "windows": windows()})


def test_a_kernel_comes_back_as_it_was_saved(saved: Path) -> None:
    loaded = fs.load_library(saved)
    a, b = np.random.rand(8, 5).astype("float32"), np.random.rand(5, 6).astype("float32")
    assert repr(loaded.mm) == repr(product())
    assert loaded.mm.target.vector_bits == product().target.vector_bits
    assert np.array_equal(loaded["mm"](a, b), product()(a, b))
    c = np.empty((8, 6), "float32")
    assert loaded.mm(a, b, c) is c
    assert loaded.mm.time(a, b, repeat=2, min_time=1e-5).median_s > 0


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_sizes_numbers_and_several_outputs(saved: Path, n: int) -> None:
    kernel = fs.load_library(saved)["windows"]
    a = np.arange(n).astype(te.dtypes.numpy_dtype("bfloat16"))
    for got, wanted in zip(kernel(a, 0.5, 3), windows()(a, 0.5, 3), strict=True):
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)


def test_a_library_is_a_mapping(saved: Path) -> None:
    loaded = fs.load_library(str(saved))
    assert list(loaded) == ["mm", "windows"]
    assert len(loaded) == 2
    assert "mm" in loaded
    assert "mmm" not in loaded
    assert repr(loaded) == "<Library libops.so: mm, windows>"
    assert loaded.path == saved
    with pytest.raises(LibraryError, match=r"no kernel 'mmm'(.|\n)*did you mean 'mm'"):
        loaded["mmm"]
    with pytest.raises(AttributeError, match=r"no kernel 'other'(.|\n)*it has mm, windows"):
        _ = loaded.other


def test_arguments_are_checked_as_a_kernel_does(saved: Path) -> None:
    mm = fs.load_library(saved).mm
    a, b = np.zeros((8, 5), "float32"), np.zeros((5, 6), "float32")
    with pytest.raises(KernelError, match=r"'A' has shape \(8, 6\)"):
        mm(np.zeros((8, 6), "float32"), b)
    with pytest.raises(KernelError, match="'B' has dtype float64"):
        mm(a, b.astype("float64"))
    with pytest.raises(KernelError, match=r"'A' has strides(.|\n)*np\.ascontiguousarray"):
        mm(np.zeros((5, 8), "float32").T, b)
    with pytest.raises(KernelError, match="takes 2 inputs"):
        mm(a)
    both = np.zeros(100, "float32")
    with pytest.raises(KernelError, match="'C' shares memory with 'A'"):
        mm(both[:40].reshape(8, 5), b, both[30:78].reshape(8, 6))


def test_memory_that_is_not_to_be_had(tmp_path: Path) -> None:
    n = te.var("n")
    B = te.compute((n * 2**40,), lambda i: i, name="B")
    C = te.compute((n,), lambda i: B[i] + 1, name="C")
    kernel = fs.build(te.create_schedule(C), [n, C], name="large")
    large = fs.load_library(kernel.save(tmp_path / "liblarge.so")).large
    assert large(0).shape == (0,)
    with pytest.raises(WorkspaceError, match=r"needs .* bytes, and they are not to be had"):
        large(2**20)


def test_its_text_is_not_in_it(saved: Path) -> None:
    mm = fs.load_library(saved).mm
    for ask in (mm.asm, mm.llvm_ir, lambda: mm.llvm_ir(optimized=True), lambda: mm.save("mm.o")):
        with pytest.raises(KernelError, match=r"was loaded from libops\.so, which holds machine code and no"):
            ask()


def test_threads_follow_flashsched(saved: Path) -> None:
    before = fs.num_threads()
    loaded = ctypes.CDLL(str(saved))
    fs.load_library(saved)
    assert loaded.ops_num_threads() == before
    try:
        fs.set_num_threads(3)
        assert loaded.ops_num_threads() == 3
    finally:
        fs.set_num_threads(before)
    assert loaded.ops_num_threads() == before


# -- in a package


PROGRAM = """
import sys
for name in ("llvmlite", "optuna", "sklearn", "scipy", "pandas", "click", "platformdirs", "ml_dtypes"):
    sys.modules[name] = None  # as if it were not installed
import numpy as np
from importlib.resources import files
import flashsched as fs
ops = fs.load_library(files("shipped") / "libops.so")
assert np.array_equal(ops.mm(np.ones((8, 5), "float32"), np.ones((5, 6), "float32")), np.full((8, 6), 5))
print([name for name, module in sys.modules.items() if module and name.startswith("flashsched.codegen.llvm")])
"""


@pytest.mark.parametrize("zipped", [False, True])
def test_a_package_ships_its_kernels_and_needs_no_llvm(saved: Path, tmp_path: Path, zipped: bool) -> None:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "__init__.py").touch()
    shutil.copy(saved, tmp_path / "shipped")
    place = tmp_path
    if zipped:
        place = tmp_path / "shipped.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in (tmp_path / "shipped").iterdir():
                archive.write(path, f"shipped/{path.name}")
        shutil.rmtree(tmp_path / "shipped")
    program = f"import sys; sys.path.insert(0, {str(place)!r})\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# -- refusals


def test_files_that_are_no_libraries_of_kernels(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"nowhere\.so can't be read: No such file"):
        fs.load_library(tmp_path / "nowhere.so")
    text = tmp_path / "text.so"
    text.write_text("not a library")
    with pytest.raises(LibraryError, match=r"text\.so holds no kernels of flashsched"):
        fs.load_library(text)
    with pytest.raises(LibraryError, match="holds no kernels of flashsched"):
        fs.load_library(sys.executable)
    unlinked = product().save(tmp_path / "mm.o")
    with pytest.raises(LibraryError, match=r"the system can't load mm\.o(.|\n)*must be linked first"):
        fs.load_library(unlinked)


def test_a_library_that_was_cut_off(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    cut = tmp_path / "libcut.so"
    for size in (len(content) - 1, len(content) * 3 // 4):
        cut.write_bytes(content[:size])
        with pytest.raises(LibraryError, match=f"it is cut off: it has {size} bytes"):
            fs.load_library(cut)


def test_a_record_that_was_damaged(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    at = content.index(b'"dtype":"float32"') + 10
    damaged = tmp_path / "libdamaged.so"
    damaged.write_bytes(content[:at] + b"g" + content[at + 1 :])
    with pytest.raises(LibraryError, match=r"libdamaged\.so: the record of a kernel in it is damaged"):
        fs.load_library(damaged)


def changed(content: bytes, old: str, new: str) -> bytes:
    """*content* with *old* replaced in its first record, the checksum made good again."""
    start = content.index(b"flashsched kernel record: ")
    rest = content[start:].partition(b": ")[2]
    length, _, rest = rest.partition(b" ")
    checksum, _, rest = rest.partition(b" ")
    text = rest[: int(length)]
    assert len(old) == len(new)
    assert old.encode() in text
    fresh = text.replace(old.encode(), new.encode())
    return content.replace(checksum + b" " + text, hashlib.sha256(fresh).hexdigest().encode() + b" " + fresh)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"format":1', '"format":2', r"format 2, written by flashsched .*, and this version reads format 1"),
        ('"params"', '"parrot"', "makes no sense"),
        ('"entry":"mm__flashsched"', '"entry":"mm__flashschet"', "has no function 'mm__flashschet'"),
    ],
)
def test_a_record_that_does_not_fit(saved: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    other = tmp_path / "libother.so"
    other.write_bytes(changed(saved.read_bytes(), old, new))
    with pytest.raises(LibraryError, match=says):
        fs.load_library(other)


def test_a_library_for_another_machine(tmp_path: Path) -> None:
    A = te.placeholder((4,), name="A")
    C = te.compute((4,), lambda i: A[i] + 1, name="C")
    for target in ("aarch64-linux-gnu", "x86_64-linux-gnu", "wasm32-wasi"):
        kernel = fs.build(te.create_schedule(C), [A, C], target=target, name="up")
        if kernel.target.runs_here:
            continue
        file = kernel.save(tmp_path / "up.o")
        with pytest.raises(LibraryError, match=f"'up' is compiled for {kernel.target.triple}, and this machine is"):
            fs.load_library(file)


def test_a_library_for_another_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    """Refused before its code is touched: a CPU without these sets would end the process with SIGILL."""
    monkeypatch.setattr(library, "lacking_here", lambda needs: sorted(set(needs) & {"avx2", "neon"}))
    monkeypatch.setattr(library.ctypes, "CDLL", None)
    with pytest.raises(LibraryError, match=r"is compiled for the CPU .*, and this one lacks (avx2|neon)"):
        fs.load_library(saved)


# -- records


def test_a_record_survives_its_file() -> None:
    n, m = te.var("n"), te.var("m")
    params = (
        Param("A", (n, 3), "float32"),
        Param("x", (), "int8", by_value=True),
        Param("B", (te.max(n - 2, 0), (m + 15) // 16, n % 4, te.min(n, m)), "bool", True, (1, n * m, 5, 2)),
    )
    signature = Signature(params, (n, m), (n - 2, m * 3 - n), ((1, m),), True)
    record = Record("f", "f__flashsched", signature, "a-b-c", "cpu", ("avx",), 256, "set", "1.2.3")
    [back] = records_in(b"junk" + record.to_bytes() + b"junk")
    assert str(back) == str(record)
    assert json.loads(record.to_bytes().split(b" ", 5)[-1].rstrip(b"\0"))["passed"] == [[1, "m"]]
    assert records_in(b"flashsched kernel record: of nothing") == []
