"""Arrays beside pages that can't be touched."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.codegen.guard_pages import guarded
from flashsched.te.dtypes import is_float, numpy_dtype


@settings(max_examples=30)
@given(
    shape=st.lists(st.sampled_from([0, 1, 3, 16, 1025]), max_size=2).map(tuple),
    dtype=st.sampled_from(["float32", "bfloat16", "int8", "bool", "float64"]),
    side=st.sampled_from(["before", "after"]),
)
def test_a_guarded_array_is_an_array(shape, dtype, side):
    poisoned = guarded(shape, numpy_dtype(dtype), side=side)
    assert (poisoned.shape, poisoned.dtype) == (shape, numpy_dtype(dtype))
    assert poisoned.flags.writeable
    assert not is_float(dtype) or np.isnan(poisoned.astype(np.float64)).all()
    values = np.ones(shape, numpy_dtype(dtype))
    np.testing.assert_array_equal(guarded(shape, values.dtype, values, side=side), values)


@pytest.mark.skipif(not hasattr(signal, "SIGSEGV") or sys.platform == "win32", reason="pages cannot be protected here")
@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize(("side", "outside"), [("after", 33 * 7), ("before", -1)])
def test_one_element_outside_is_a_segmentation_fault(access, side, outside):
    text = f"""
import ctypes, numpy as np
from flashsched.codegen.guard_pages import guarded
array = guarded((33, 7), np.dtype("float32"), np.ones((33, 7), "float32"), side={side!r})
elements = ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_float))
elements[33 * 7 - 1] = 2.0
assert array[32, 6] == 2.0 and elements[0] == 1.0
print("still here", flush=True)
address = array.ctypes.data + 4 * {outside}
element = ctypes.c_float.from_address(address)
{"element.value = 3.0" if access == "write" else "print(element.value)"}
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.stdout == "still here\n"
    assert done.returncode == -signal.SIGSEGV
