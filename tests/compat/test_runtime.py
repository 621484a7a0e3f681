"""Arrays, devices, targets, modules and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flashsched.compat.tvm.testing
from flashsched.compat import tvm
from flashsched.compat.tvm import te
from flashsched.compat.tvm.contrib import cc, clang, utils
from flashsched.errors import DeviceError, KernelError

N = 37


def add_one(name: str = "add_one", target: Any = "llvm", parallel: bool = False) -> Any:
    A = te.placeholder((N,), name="A")
    B = te.compute((N,), lambda i: A[i] + 1.0, name="B")
    s = te.create_schedule(B.op)
    if parallel:
        s[B].parallel(s[B].split(B.op.axis[0], factor=4)[0])
    return tvm.build(s, [A, B], target, name=name)


def runs(module: Any) -> bool:
    a, b = tvm.nd.array(np.arange(N, dtype="float32")), tvm.nd.empty((N,))
    module(a, b)
    return bool((b.numpy() == np.arange(N) + 1).all())


def test_arrays_are_copies_on_a_device() -> None:
    source = np.arange(6, dtype="int32").reshape(2, 3)
    a = tvm.nd.array(source, tvm.cpu(0))
    source[:] = 0
    assert a.shape == (2, 3)
    assert a.dtype == "int32"
    assert a.device == tvm.cpu()
    assert a.numpy().sum() == a.asnumpy().sum() == 15
    assert a.data.ctypes.data % 64 == 0
    b = tvm.nd.empty((2, 3), "int32").copyfrom(a)
    c = b.copyto(tvm.cpu(0))
    b.copyto(tvm.nd.empty((2, 3), "int32"))
    np.testing.assert_array_equal(c.numpy(), a.numpy())
    np.testing.assert_array_equal(np.from_dlpack(a), a.numpy())
    assert tvm.nd.array([1.5, 2.5]).dtype == "float64"
    with pytest.raises(KernelError, match="the source has shape"):
        a.copyfrom(np.zeros(3))


def test_devices() -> None:
    assert tvm.device("llvm", 0) == tvm.device("llvm -mcpu=haswell") == tvm.cpu(0)
    assert tvm.cpu(0).exist
    assert not tvm.cuda(0).exist
    tvm.cpu(0).sync()
    assert tvm.runtime.enabled("llvm")
    assert not tvm.runtime.enabled("cuda")
    with pytest.raises(DeviceError, match=r"cuda\(0\) does not exist here"):
        tvm.nd.array(np.zeros(3), tvm.cuda(0))
    with pytest.raises(DeviceError, match="no device 'npu'"):
        tvm.device("npu")


def test_targets() -> None:
    target = tvm.target.Target("llvm -mcpu=haswell -mattr=+avx2,+fma", host="llvm")
    assert target.kind.name == "llvm"
    assert target.mcpu == "haswell"
    assert target.mattr == ["+avx2", "+fma"]
    assert target.host is not None
    assert tvm.target.Target(str(target)) == tvm.target.Target(str(target))
    assert "gpu" in tvm.target.Target({"kind": "cuda", "arch": "sm_80"}).keys
    assert tvm.target.Target.current() is None
    with tvm.target.create("cuda") as inner:
        assert tvm.target.Target.current() is inner
    with pytest.raises(DeviceError, match="no target 'lvm'"):
        tvm.target.Target("lvm")
    with pytest.raises(DeviceError, match="compiled for 'llvm', not for 'cuda'"):
        add_one(target="cuda")


def test_a_cpu_that_is_not_here_is_told() -> None:
    assert runs(add_one(target="llvm -mcpu=x86-64-v2"))
    with pytest.warns(UserWarning, match="compiled for this machine instead"):
        assert runs(add_one(target="llvm -mcpu=no-such-cpu"))


def test_modules() -> None:
    module = add_one()
    assert runs(module)
    assert runs(module["add_one"])
    assert runs(module.entry_func)
    assert runs(module[module.entry_name])
    assert module.imported_modules == []
    assert "define" in module.get_source("ll")
    assert "add_one" in module.get_source("asm")
    with pytest.raises(KernelError, match=r"no function 'add_two'.*did you mean add_one"):
        module["add_two"]
    with pytest.raises(KernelError, match="takes 2 arguments, and 1 were given"):
        module(tvm.nd.empty((N,)))
    with pytest.raises(KernelError, match="has shape"):
        module(tvm.nd.empty((3,)), tvm.nd.empty((N,)))


def test_time_evaluator() -> None:
    module = add_one()
    a, b = tvm.nd.array(np.ones(N, "float32")), tvm.nd.empty((N,))
    seen: list[int] = []
    timer = module.time_evaluator(
        module.entry_name, tvm.cpu(0), number=3, repeat=4, f_preproc=lambda *args: seen.append(len(args))
    )
    result = timer(a, b)
    assert len(result.results) == 4
    assert seen == [2, 2, 2, 2]
    assert 0 < result.min <= result.median <= result.max < 1
    assert result.min <= result.mean <= result.max
    assert "mean (ms)" in str(result)
    np.testing.assert_array_equal(b.numpy(), 2)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("compiler", [True, False])
def test_files(tmp_path: Path, monkeypatch: Any, parallel: bool, compiler: bool) -> None:
    if not compiler:
        monkeypatch.setattr(cc, "get_cc", lambda: None)
    module = add_one(parallel=parallel)
    temp = utils.tempdir()
    module.save(temp.relpath("add.o"))
    cc.create_shared(temp.relpath("add.so"), [temp.relpath("add.o")])
    module.export_library(temp.relpath("whole.so"))
    module.save(temp.relpath("add.ll"))
    module.save(temp.relpath("add.s"))
    assert sorted(temp.listdir()) == ["add.ll", "add.o", "add.s", "add.so", "whole.so"]
    for name in ("add.o", "add.so", "whole.so"):
        loaded = tvm.runtime.load_module(temp.relpath(name))
        assert runs(loaded)
        assert runs(loaded["add_one"])
    (tmp_path / "other.so").write_bytes(b"nothing")
    with pytest.raises(KernelError, match="holds no module"):
        tvm.runtime.load_module(str(tmp_path / "other.so"))


@pytest.mark.skipif(cc.get_cc() is None, reason="there is no C compiler")
def test_a_shared_library_is_one_for_others_too() -> None:
    import ctypes

    temp = utils.tempdir()
    module = add_one()
    module.export_library(temp.relpath("add.so"))
    library = ctypes.CDLL(temp.relpath("add.so"))
    a, b = np.arange(N, dtype="float32"), np.empty(N, "float32")
    entry = getattr(library, module.entry_func.kernel.name)
    entry(a.ctypes.data_as(ctypes.c_void_p), b.ctypes.data_as(ctypes.c_void_p))
    np.testing.assert_array_equal(b, a + 1)


def test_several_functions() -> None:
    A = te.placeholder((N,), name="A")
    B = te.compute((N,), lambda i: A[i] + 1.0, name="B")
    C = te.compute((N,), lambda i: A[i] * 2.0, name="C")
    one = tvm.lower(te.create_schedule(B.op), [A, B], name="one")
    two = tvm.lower(te.create_schedule(C.op), [C, A], name="two")  # outputs may come first
    module = tvm.build([one, two], target="llvm")
    a, c = tvm.nd.array(np.arange(N, dtype="float32")), tvm.nd.empty((N,))
    temp = utils.tempdir()
    module.export_library(temp.relpath("both.so"))
    for built in (module, tvm.runtime.load_module(temp.relpath("both.so"))):
        assert runs(built["one"])
        built["two"](c, a)
        np.testing.assert_array_equal(c.numpy(), a.numpy() * 2)


def test_strides_are_asked_of_the_arrays() -> None:
    A = te.placeholder((6, 4), name="A")
    B = te.compute((6, 4), lambda i, j: A[i, j] + 1.0, name="B")
    Ab = tvm.tir.decl_buffer(A.shape, A.dtype, name="Ab", strides=[8, 1])
    module = tvm.build(te.create_schedule(B.op), [Ab, B], binds={A: Ab})
    wide, out = np.arange(48, dtype="float32").reshape(6, 8), tvm.nd.empty((6, 4))
    module(tvm.nd.from_dlpack(wide[:, :4]), out)
    np.testing.assert_array_equal(out.numpy(), wide[:, :4] + 1)


def test_registered_functions() -> None:
    @tvm.register_func("tests.compat.twice", override=True)
    def twice(x: int) -> int:
        return 2 * x

    assert tvm.get_global_func("tests.compat.twice")(4) == 8
    assert tvm.get_global_func("tests.compat.thrice", allow_missing=True) is None
    with pytest.raises(KernelError, match="no function is registered as"):
        tvm.get_global_func("tests.compat.thrice")
    with pytest.raises(KernelError, match="registered already"):
        tvm.register_func("tests.compat.twice", twice)


def test_what_is_missing_says_what_to_use() -> None:
    with pytest.raises(AttributeError, match="from_onnx"):
        tvm.relay  # noqa: B018
    with pytest.raises(AttributeError, match=r"docs/coming-from-tvm\.md"):
        tvm.nonsense  # noqa: B018
    with pytest.raises(NotImplementedError, match="add_lower_pass"):
        tvm.transform.PassContext(config={"tir.add_lower_pass": [(1, None)]})
    with tvm.transform.PassContext(opt_level=3):
        assert runs(add_one())


def test_without_any_compiler_there_is_no_llvm_text_of_c(monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KernelError, match="clang is not installed"):
        clang.create_llvm("int f() { return 1; }\n")


def test_comparing() -> None:
    tvm.testing.assert_allclose(np.ones(3), np.ones(3) + 1e-9)
    with pytest.raises(AssertionError):
        tvm.testing.assert_allclose(np.ones(3), np.ones(3) + 1e-3)
    with pytest.raises(AssertionError):
        tvm.testing.assert_allclose(np.ones(3), np.ones((3, 1)))
    assert flashsched.compat.tvm.testing.enabled_targets() == [("llvm", tvm.cpu(0))]
