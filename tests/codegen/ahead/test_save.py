"""Kernels saved for C: programs are compiled against the header and the file, run, and held against NumPy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.ahead import linker
from flashsched.codegen.kernel import Kernel
from flashsched.errors import LibraryError
from flashsched.te.dtypes import numpy_dtype

from .saved import array, filled, product

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def scaled(target: str = "cpu") -> Kernel:
    """alpha exp(A B) for any number of rows and columns, the product in memory of its own; n is passed."""
    n, m, alpha = te.var("n"), te.var("m"), te.scalar("alpha")
    A, B = te.placeholder((n, 8), name="A"), te.placeholder((8, m), name="B")
    r = te.reduce_axis((0, 8), name="k")
    C = te.compute((n, m), lambda i, j: te.sum(A[i, r] * B[r, j], axis=r), name="C")
    D = te.compute((n, m), lambda i, j: alpha * te.exp(C[i, j]), name="D")
    s = te.create_schedule(D)
    s[D].parallel(s[D].op.axis[0])
    return fs.build(s, [A, n, B, alpha, D], target=target, name="scaled")


def read(printed: str, *shape: int) -> np.ndarray:
    return np.array(printed.split(), np.float32).reshape(shape)


PRODUCT = """
#include "mm.h"
#include <stdio.h>
%s
int main(void) {
  static float c[37 * 50];
  int i;
  if (mm(a, b, c) != FLASHSCHED_DONE) return 1;
  for (i = 0; i < 37 * 50; i++) printf("%%.9g\\n", c[i]);
  return 0;
}
"""


@pytest.mark.parametrize("kind", ["o", "so", "s"])
def test_a_c_program_computes_what_numpy_does(tmp_path: Path, run_c, kind: str) -> None:
    file = f"libmm.{kind}" if kind == "so" else f"mm.{kind}"
    assert product().save(tmp_path / file) == tmp_path / file
    a, b = filled(37, 29), filled(29, 50)
    words = ["-L.", "-lmm", "-Wl,-rpath,$ORIGIN"] if kind == "so" else [file]
    printed = run_c(PRODUCT % (array("a", a) + array("b", b)), *words)
    np.testing.assert_allclose(read(printed, 37, 50), a @ b, rtol=1e-4, atol=1e-5)


def test_a_cpp_program_takes_the_same_header(tmp_path: Path, run_c) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    product().save(tmp_path / "mm.o")
    a, b = filled(37, 29), filled(29, 50)
    text = PRODUCT % (array("a", a) + array("b", b))
    printed = run_c(text, "mm.o", compiler=compiler, standard="c++11")
    np.testing.assert_allclose(read(printed, 37, 50), a @ b, rtol=1e-4, atol=1e-5)


def test_llvm_takes_the_text_and_the_bitcode_again(tmp_path: Path) -> None:
    import llvmlite.binding as binding

    kernel = product()
    text = kernel.save(tmp_path / "mm.ll").read_text()
    assert f'"target-cpu"="{kernel.target.cpu}"' in text
    for module in (
        binding.parse_assembly(text),
        binding.parse_bitcode(kernel.save(tmp_path / "mm.bc").read_bytes()),
    ):
        module.verify()
        assert module.triple == kernel.target.triple
        exported = {f.name for f in module.functions if not f.is_declaration and f.linkage.name == "external"}
        assert exported == {"mm", "mm__flashsched", "mm_set_num_threads", "mm_num_threads"}


# -- sizes, numbers, memory


SCALED = """
#include "scaled.h"
#include <stdio.h>
%s
int main(void) {
  static float d[5 * 7];
  int i;
  if (scaled(a, -1, b, 0.5f, d, 7) != FLASHSCHED_BAD_SIZE) return 1;
  if (scaled(a, 5, b, 0.5f, d, -7) != FLASHSCHED_BAD_SIZE) return 2;
  if (scaled(a, INT64_C(1) << 40, b, 0.5f, d, INT64_C(1) << 40) != FLASHSCHED_NO_MEMORY) return 3;
  if (scaled(a, 0, b, 0.5f, d, 7) != FLASHSCHED_DONE) return 4;
  if (scaled(a, 5, b, 0.5f, d, 7) != FLASHSCHED_DONE) return 5;
  for (i = 0; i < 5 * 7; i++) printf("%%.9g\\n", d[i]);
  return 0;
}
"""


def test_sizes_and_numbers_are_passed_by_value_and_refused_where_they_are_wrong(tmp_path: Path, run_c) -> None:
    scaled().save(tmp_path / "scaled.o")
    assert "int scaled(\n" in (tmp_path / "scaled.h").read_text()
    a, b = filled(5, 8), filled(8, 7)
    printed = run_c(SCALED % (array("a", a) + array("b", b)), "scaled.o")
    np.testing.assert_allclose(read(printed, 5, 7), 0.5 * np.exp(a @ b), rtol=1e-5)


def test_a_dimension_that_would_be_below_0(tmp_path: Path, run_c) -> None:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    C = te.compute((n - 2,), lambda i: A[i] + A[i + 2], name="C")
    fs.build(te.create_schedule(C), [A, C], name="pairs").save(tmp_path / "pairs.o")
    assert "C: output, float32[n - 2]" in (tmp_path / "pairs.h").read_text()
    text = """
    #include "pairs.h"
    int main(void) {
      float a[3] = {1, 2, 3}, c[1] = {7};
      if (pairs(a, c, 1) != FLASHSCHED_BAD_SIZE || c[0] != 7) return 1;
      if (pairs(a, c, 2) != FLASHSCHED_DONE || c[0] != 7) return 2;
      return pairs(a, c, 3) == FLASHSCHED_DONE && c[0] == 4 ? 0 : 3;
    }"""
    run_c(text, "pairs.o")


KINDS = {
    "float64": "double", "float32": "float", "float16": "uint16_t", "bfloat16": "uint16_t", "int64": "int64_t",
    "int32": "int32_t", "int16": "int16_t", "int8": "int8_t", "uint64": "uint64_t", "uint32": "uint32_t",
    "uint16": "uint16_t", "uint8": "uint8_t", "bool": "uint8_t",
}  # fmt: skip


def test_each_dtype_has_a_type_in_c() -> None:
    assert set(KINDS) == set(te.dtypes.DTYPES)


@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_and_arrays_of_each_dtype(tmp_path: Path, run_c, dtype: str) -> None:
    """A[i] if A[i] differs from x else y, x passed between other arguments so that it has to be in its place."""
    x, A, y = te.scalar("x", dtype), te.placeholder((4,), dtype, name="A"), te.scalar("y", dtype)
    C = te.compute((4,), lambda i: te.select(A[i] != x, A[i], y), name="C")
    fs.build(te.create_schedule(C), [x, A, y, C], name="chosen").save(tmp_path / "chosen.o")
    values = [0, 1, 1, 0] if dtype == "bool" else [1, 2, 3, -100] if dtype.startswith("uint") else [-1, 2, -3, 100]
    data = np.array(values).astype(numpy_dtype(dtype))  # -100 is a large number where there is no sign
    wanted = np.where(data != data[2], data, data[3])
    bits = dtype in ("float16", "bfloat16")
    raw = (data.view(np.uint16) if bits else data.astype(np.uint8) if dtype == "bool" else data).tolist()
    want = (wanted.view(np.uint16) if bits else wanted.astype(np.uint8) if dtype == "bool" else wanted).tolist()
    kind = KINDS[dtype]
    suffix = "u" if kind[0] == "u" else ""
    text = f"""
    #include "chosen.h"
    int main(void) {{
      const {kind} a[4] = {{{", ".join(f"{number}{suffix}" for number in raw)}}};
      const {kind} want[4] = {{{", ".join(f"{number}{suffix}" for number in want)}}};
      {kind} c[4];
      int i;
      if (chosen(a[2], a, a[3], c) != FLASHSCHED_DONE) return 1;
      for (i = 0; i < 4; i++) if (c[i] != want[i]) return 2 + i;
      return 0;
    }}"""
    run_c(text, "chosen.o")


# -- several kernels, names, files


def test_several_kernels_in_one_library(tmp_path: Path, run_c) -> None:
    fs.save_library(tmp_path / "libops.so", {"mm": product(), "exp_mm": scaled()})
    text = """
    #include "ops.h"
    static float a[37 * 29], b[29 * 50], c[37 * 50];
    int main(void) {
      ops_set_num_threads(2);
      if (mm(a, b, c) != FLASHSCHED_DONE || c[0] != 0.0f) return 1;
      return exp_mm(a, 1, b, 3.0f, c, 1) == FLASHSCHED_DONE && c[0] == 3.0f ? 0 : 2;
    }"""
    run_c(text, "-L.", "-lops", "-Wl,-rpath,$ORIGIN")


def test_two_objects_with_threads_in_one_program(tmp_path: Path, run_c) -> None:
    product().save(tmp_path / "mm.o")
    scaled().save(tmp_path / "scaled.o")
    text = """
    #include "mm.h"
    #include "scaled.h"
    static float a[37 * 29], b[29 * 50], c[37 * 50];
    int main(void) {
      mm_set_num_threads(2);
      scaled_set_num_threads(3);
      return mm(a, b, c) || scaled(a, 1, b, 1.0f, c, 1) || mm_num_threads() != 2;
    }"""
    run_c(text, "mm.o", "scaled.o")


def test_where_the_header_goes(tmp_path: Path) -> None:
    kernel = product()
    kernel.save(tmp_path / "libmm.so", header=tmp_path / "other.h")
    kernel.save(tmp_path / "mm.o", header=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["libmm.so", "mm.o", "other.h"]
    assert "#ifndef FLASHSCHED_OTHER_H" in (tmp_path / "other.h").read_text()


def test_a_name_that_the_c_library_has(tmp_path: Path) -> None:
    C = te.compute((4,), lambda i: i + 1, name="C")
    kernel = fs.build(te.create_schedule(C), name="exp")
    kernel.save(tmp_path / "libe.so")
    assert "int exp_kernel(" in (tmp_path / "e.h").read_text()
    for name, says in {
        "exp": "the C library, or another function of this one, is called 'exp' too",
        "malloc": "is called 'malloc' too",
        "double": "'double' can't be the name of a C function",
        "a-b": "'a-b' can't be the name",
        "2d": "'2d' can't be the name",
        "fs_reset": "'fs_reset' can't be the name",
    }.items():
        with pytest.raises(LibraryError, match=says):
            fs.save_library(tmp_path / "libe.so", {name: kernel})


def test_a_name_that_the_file_or_the_kernel_needs_itself(tmp_path: Path) -> None:
    for name, file in {"ops_num_threads": "ops.o", "pthread_create": "ops.o", "getenv": "ops.o"}.items():
        with pytest.raises(LibraryError, match=f"another function of this one, is called '{name}' too"):
            fs.save_library(tmp_path / file, {"other": product(), name: product()})
    fs.save_library(tmp_path / "ops.o", {"mm": product(), "mm2": product()})


def test_a_kernel_that_calls_a_c_function(tmp_path: Path, run_c) -> None:
    A = te.placeholder((2,), name="A")
    C = te.compute((2,), lambda i: te.call_pure_extern("float32", "cbrtf", A[i]), name="C")
    kernel = fs.build(te.create_schedule(C), [A, C], name="roots")
    kernel.save(tmp_path / "roots.o")
    text = """
    #include "roots.h"
    int main(void) {
      float a[2] = {8, -27}, c[2];
      return roots(a, c) || c[0] != 2 || c[1] != -3;
    }"""
    run_c(text, "roots.o")
    with pytest.raises(LibraryError, match="is called 'cbrtf' too"):  # it would call itself
        fs.save_library(tmp_path / "roots.o", {"cbrtf": kernel})


def test_parameters_that_c_has_no_such_names_for(tmp_path: Path, cc: str) -> None:
    A, B = te.placeholder((4,), name="int"), te.placeholder((4,), name="int_")
    C = te.compute((4,), lambda i: A[i] + B[i], name="C.2")
    fs.build(te.create_schedule(C), [A, B, C], name="total").save(tmp_path / "total.o")
    told = " ".join((tmp_path / "total.h").read_text().split())
    assert "RESTRICT int_, const float *FLASHSCHED_RESTRICT int__, float *FLASHSCHED_RESTRICT C_2" in told
    subprocess.run([cc, *STRICT, "-std=c99", "-fsyntax-only", "-x", "c", tmp_path / "total.h"], check=True)


def test_a_library_needs_the_c_library_only(tmp_path: Path) -> None:
    content = product().save(tmp_path / "libmm.so").read_bytes()
    assert b"libpython" not in content
    assert b"LLVM" not in content
    assert str(tmp_path).encode() not in content


# -- refusals


def test_what_can_not_be_saved(tmp_path: Path) -> None:
    A = te.placeholder((4,), name="A")
    E = te.extern((4,), [A], lambda a, out: np.negative(a, out=out), name="E", dtype="float32")
    with pytest.raises(LibraryError, match="calls a Python function"):
        fs.build(te.create_schedule(E), [A, E], name="e").save(tmp_path / "e.o")
    at = te.placeholder((4,), "int64", name="at")
    G = te.compute((4,), lambda i: A[at[i]], name="G")
    with pytest.raises(LibraryError, match=r"checks its indices(.|\n)*hint: build it without check_bounds"):
        fs.build(te.create_schedule(G), [A, at, G], check_bounds=True).save(tmp_path / "g.o")
    with pytest.raises(LibraryError, match="there is no kernel to save"):
        fs.save_library(tmp_path / "none.o", {})
    with pytest.raises(LibraryError, match=r"its ending is none of \.so, (.|\n)*hint: save a shared library: mm\.so"):
        product().save(tmp_path / "mm.dll")
    with pytest.raises(LibraryError, match="the kernels are for several targets"):
        fs.save_library(tmp_path / "both.o", {"a": product(), "b": product(target="aarch64-linux-gnu")})
    with pytest.raises(LibraryError, match="can't be written: No such file"):
        product().save(tmp_path / "nowhere" / "mm.o")
    assert not list(tmp_path.iterdir())


def test_without_a_linker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(linker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LibraryError, match=r"needs a linker, and there is none on the PATH(.|\n)*apt install gcc"):
        product().save(tmp_path / "libmm.so")
    product().save(tmp_path / "mm.o")  # needs none


def test_a_linker_that_refuses(tmp_path: Path, cc: str) -> None:
    with pytest.raises(LibraryError, match=r"can't link libmm\.so: (.|\n)*zorkmid"):
        product().save(tmp_path / "libmm.so", link=["-lzorkmid"])
    assert not list(tmp_path.iterdir())


def test_the_bare_linker_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ld = shutil.which("ld")
    if ld is None:
        pytest.skip("needs ld")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ld").symlink_to(ld)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)
    a, b = filled(37, 29), filled(29, 50)
    loaded = fs.load_library(product().save(tmp_path / "libmm.so"))
    np.testing.assert_allclose(loaded.mm(a, b), a @ b, rtol=1e-4, atol=1e-5)
