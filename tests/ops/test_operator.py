from __future__ import annotations

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import OPERATORS, find_operator
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task


def scaled_add(M, N, dtype="float32", scale=2):
    """Z = scale * X + Y."""
    X = te.placeholder((M, N), dtype, name="X")
    Y = te.placeholder((M, N), dtype, name="Y")
    return [X, Y, te.compute((M, N), lambda i, j: scale * X[i, j] + Y[i, j], name="Z")]


@pytest.fixture
def mine():
    return fs.operator(shape=(8, 16))(scaled_add)


def test_the_example_of_the_module_runs(mine):
    @mine.template("cpu")
    def schedule(s, args, knobs, spec):
        i, j = s[args[-1]].op.axis
        _, inner = s[args[-1]].split(j, factor=knobs.choice("lanes", (8, 16, 32)))
        s[args[-1]].vectorize(inner)
        s[args[-1]].parallel(i)

    found = Task(mine, (5, 32)).candidate(FirstKnobs(), devices["cpu"])
    kernel = fs.build(found.schedule, found.args)
    x, y = np.ones((5, 32), np.float32), np.full((5, 32), 3, np.float32)
    np.testing.assert_array_equal(kernel(x, y), 2 * x + y)
    assert found.decisions == {"lanes": 0}


def test_what_it_tells_of_itself(mine):
    assert (mine.name, mine.shape, mine.dtypes) == ("scaled_add", (8, 16), ("float32", "float64"))
    assert mine.shape_names == ("M", "N")
    assert mine.options == {"scale": 2}
    assert mine.__doc__ == "Z = scale * X + Y."
    assert repr(mine) == "<operator scaled_add(M, N)>"


def test_a_users_operator_is_not_registered(mine):
    assert "scaled_add" not in OPERATORS
    assert {"matmul", "conv2d", "add", "relu"} <= set(OPERATORS)
    assert find_operator("relu") is OPERATORS["relu"]


def test_options_reach_the_definition(mine):
    x, _, z = mine.args((2, 3), options={"scale": 5})
    assert (x.shape, z.dtype) == ((2, 3), "float32")
    assert "5" in str(z.op.body[0])


def test_a_definition_without_a_dtype_or_a_shape():
    def fixed():
        x = te.placeholder((4,), "int32", name="x")
        return [x, te.compute((4,), lambda i: x[i] + 1, name="y")]

    task = Task(fs.operator(dtypes=("float32", "int32"))(fixed))
    assert task.shape == (4,)
    assert task.args()[-1].dtype == "int32"


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "says"),
    [
        ((1, 2, 3), "float32", {}, r"scaled_add takes a shape of 2 numbers \(M,N\), and got 3: 1,2,3"),
        ((1,), "float32", {}, r"for example 8,16"),
        ((1, -2), "float32", {}, "scaled_add: N must be an integer from 0 up, got -2"),
        ((1.5, 2), "float32", {}, "scaled_add: M must be an integer from 0 up, got 1.5"),
        ((True, 2), "float32", {}, "M must be an integer from 0 up, got True"),
        ((1, 2), "int8", {}, "scaled_add does not take 'int8'"),
        ((1, 2), "float32", {"scal": 3}, "scaled_add has no option 'scal'(.|\n)*scale"),
    ],
)
def test_refusals(mine, shape, dtype, options, says):
    with pytest.raises(TuneError, match=says):
        mine.args(shape, dtype, options)


def test_a_definition_must_return_inputs_and_then_the_output():
    def nothing(N, dtype="float32"):
        return []

    def text(N, dtype="float32"):
        return ["x"]

    def mixed(N, dtype="float32"):
        x = te.placeholder((N,), dtype, name="x")
        y = te.compute((N,), lambda i: x[i] + 1, name="y")
        return [x, y, te.compute((N,), lambda i: y[i] + 1, name="z")]

    for define in (nothing, text):
        with pytest.raises(TuneError, match="its definition must return tensors, the inputs and then the output"):
            fs.operator(shape=(4,))(define).args()
    with pytest.raises(TuneError, match="mixed: y comes before the output, and is no input"):
        fs.operator(shape=(4,))(mixed).args()


def test_an_unknown_operator_names_the_nearest():
    with pytest.raises(TuneError, match=r"no operator named 'matmull'(.|\n)*matmul"):
        find_operator("matmull")
