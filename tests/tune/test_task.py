from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.errors import ExpressionError, Infeasible, ScheduleError, TuneError
from flashsched.hw import devices
from flashsched.schedule import Trace, create_schedule
from flashsched.testing import programs
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task


def element_wise(value, dtype="float32", name="A"):
    a = te.placeholder((4,), dtype, name=name)
    return Task.from_te([a, te.compute((4,), lambda i: value(a[i]), name="C")])


def reduced(combine, identity):
    a, k = te.placeholder((4, 5), name="A"), te.reduce_axis((0, 5), name="k")
    how = te.comm_reducer(combine, lambda t: te.const(identity, t), name="combined")
    return Task.from_te([a, te.compute((4,), lambda i: how(a[i, k], axis=k), name="C")])


# -- what makes two tasks one ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Task("matmul", (33, 20, 40)), Task("matmul", [33, 20, 40], "float32")),
        (Task("matmul", (4, 5, 6)), Task("matmul", (4, 5, 6), bias=False, activation=None)),
        (Task("matmul", (4, 5, 6), bias=True), Task("matmul", (4, 5, 6), bias=1)),
        (Task("matmul", (512, 512, 512)), Task("matmul")),
        (Task("matmul", (4, 5, 6), "float"), Task("matmul", (4, 5, 6), np.float32)),
        (Task.from_te(programs.matmul(4, 5, 6)), Task.from_te(programs.matmul(4, 5, 6), name="mine")),
        (element_wise(lambda x: x + 1), element_wise(lambda y: y + 1.0)),
    ],
)
def test_the_same_computation_has_the_same_hash(one, other):
    assert one.text == other.text
    assert one.hash == other.hash


DIFFERENT = {
    "an operator": [Task("add", (8, 8)), Task("relu", (8, 8))],
    "a shape": [Task("matmul", (4, 5, 6)), Task("matmul", (5, 4, 6)), Task("matmul", (4, 6, 5))],
    "a dtype": [Task("matmul", (4, 5, 6), dtype) for dtype in ("float32", "float64", "float16", "bfloat16", "int8")],
    "an option": [
        *(Task("matmul", (4, 5, 6), activation=activation) for activation in (None, "relu", "gelu", "silu")),
        Task("matmul", (4, 5, 6), bias=True),
    ],
    "a window": [
        Task("conv2d", (1, 4, 8, 8, 4, 3, 1, 1)),
        Task("conv2d", (1, 4, 8, 8, 4, 3, 1, 0)),
        Task("conv2d", (1, 4, 8, 8, 4, 3, 2, 1)),
        Task("conv2d", (1, 4, 8, 8, 4, 3, 1, 1), groups=2),
        Task("conv2d", (1, 4, 8, 8, 4, 3, 1, 1), dilation=2),
    ],
    "a constant": [element_wise(lambda x, c=c: x * c) for c in (0.1, 0.1000000001, 0.2)],
    "an operation": [
        element_wise(operation, "int32")
        for operation in (
            lambda x: x + 2,
            lambda x: x * 2,
            lambda x: x // 2,
            lambda x: x % 2,
            lambda x: te.maximum(x, 2),
            lambda x: (x.astype("int64") + te.const(2, "int64")).astype("int32"),
        )
    ],
    "a reduction of the same name": [
        reduced(lambda x, y: x + y, 0.0),
        reduced(lambda x, y: x * y, 1.0),
        reduced(lambda x, y: te.maximum(x, y), float("-inf")),
    ],
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_computation_has_another_hash(what):
    hashes = [task.hash for task in DIFFERENT[what]]
    assert len(set(hashes)) == len(hashes)


def test_tensors_of_the_same_name_are_told_apart():
    a, b = te.placeholder((4,), name="A"), te.placeholder((4,), name="A")
    values = (lambda i: a[i] - b[i], lambda i: b[i] - a[i])
    one, other = (Task.from_te([a, b, te.compute((4,), value, name="C")]) for value in values)
    assert one.hash != other.hash
    c = te.compute((4,), values[0], name="C")
    assert Task.from_te([a, b, c]).hash != Task.from_te([b, a, c]).hash


def test_axes_of_the_same_name_are_told_apart():
    a = te.placeholder((5, 5), name="A")
    k, again = te.reduce_axis((0, 5), name="k"), te.reduce_axis((0, 5), name="k")
    reads = (a[k, again], a[again, k], a[k, k])
    tasks = [Task.from_te([a, te.compute((1,), lambda i, r=r: te.sum(r, axis=[k, again]), name="C")]) for r in reads]
    assert len({task.hash for task in tasks}) == 3


def test_the_hash_is_the_same_in_another_process():
    text = "import flashsched as fs; print(fs.Task('conv2d', (1, 4, 8, 8, 4, 3, 1, 1), bias=True).hash)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Task("conv2d", (1, 4, 8, 8, 4, 3, 1, 1), bias=True).hash


# -- what it says of itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8"])
def test_a_matmul_has_2mnk_operations(dtype):
    assert Task("matmul", (33, 20, 40), dtype).flops == 2 * 33 * 20 * 40
    assert Task("matmul", (33, 20, 0), dtype).flops == 0


def test_operations_of_other_tasks():
    assert Task("add", (3, 4)).flops == 12
    assert Task("relu", (3, 4)).flops == 12
    assert Task("matmul", (3, 4, 5), bias=True, activation="relu").flops == 2 * 60 + 2 * 12
    assert Task("conv2d", (2, 4, 8, 8, 6, 3, 1, 1)).flops == 2 * (2 * 6 * 8 * 8) * (4 * 3 * 3)
    assert element_wise(lambda x: te.exp(x) * 2 + x).flops == 3 * 4
    assert element_wise(lambda x: te.select(x > 0, x, -x)).flops > 0


@pytest.mark.parametrize(
    ("dtype", "of_input", "of_output"), [("float32", 4, 4), ("bfloat16", 2, 2), ("int8", 1, 4), ("float64", 8, 8)]
)
def test_bytes_are_those_of_inputs_and_output(dtype, of_input, of_output):
    assert Task("matmul", (3, 4, 5), dtype).bytes == of_input * (15 + 20) + of_output * 12


def test_inputs_are_random_and_repeatable():
    task = Task("matmul", (3, 4, 5), "bfloat16", bias=True)
    one, again, other = task.inputs(0), task.inputs(0), task.inputs(1)
    assert [(x.shape, str(x.dtype)) for x in one] == [((3, 5), "bfloat16"), ((5, 4), "bfloat16"), ((4,), "bfloat16")]
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    flags, small = element_wise(lambda x: x, "bool").inputs()[0], Task("relu", (50, 50), "uint8").inputs()[0]
    assert flags.dtype == np.bool_
    assert 0 <= small.min() < small.max() < 10


def test_to_json_is_what_a_record_needs():
    found = Task("matmul", (3, 4, 5), activation="relu").to_json()
    assert (found["op"], found["shape"], found["dtype"]) == ("matmul", [3, 4, 5], "float32")
    assert found["options"] == {"activation": "relu"}
    assert found["hash"] == Task("matmul", (3, 4, 5), activation="relu").hash
    assert repr(Task("matmul", (3, 4, 5), activation="relu")) == (
        "Task('matmul', shape=(3, 4, 5), dtype='float32', activation='relu')"
    )


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Task("matmull"), r"no operator named 'matmull'(.|\n)*matmul"),
        (lambda: Task("matmul", "4,5,6"), r"a sequence of integers, got '4,5,6'[^$]*example \(512, 512, 512\)"),
        (lambda: Task("matmul", (4, 5)), r"takes a shape of 3 numbers \(M,N,K\), and got 2: 4,5"),
        (lambda: Task("matmul", 512), "shape must be a sequence of integers, got 512"),
        (lambda: Task("matmul", (4, 5, -1)), "K must be an integer from 0 up, got -1"),
        (lambda: Task("matmul", ("a", 1, 1)), "M must be an integer from 0 up, got 'a'"),
        (lambda: Task("matmul", (4, 5, 6), "int64"), "does not take 'int64'"),
        (lambda: Task("matmul", (4, 5, 6), biass=True), r"no option 'biass'(.|\n)*bias"),
        (lambda: Task("matmul", (4, 5, 6), activatoin=None), "no option 'activatoin'"),
        (lambda: Task("relu", (4, 5), bias=True), "relu has no option 'bias'"),
        (lambda: Task.from_te([]), "inputs and then the output"),
        (lambda: Task.from_te([te.placeholder((4,), name="A")]), "the output, which must be computed"),
        (lambda: Task.from_te(programs.chain(4)), "the inputs and then the output, and P is computed"),
        (lambda: Task.from_te(programs.matmul(2, 2, 2)[1:]), "is not given A, an input of C"),
        (lambda: Task.from_te(programs.matmul(2, 2, 2)).template("dsp"), r"custom has no schedule template for a dsp"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(TuneError, match=says):
        make()


@pytest.mark.parametrize("call", [fs.tune, lambda it: fs.load("x", it), lambda it: fs.explain("x", it)])
@pytest.mark.parametrize(("given", "shown"), [("matmul", "'matmul'"), (("matmul", (4, 4, 4)), "a tuple")])
def test_what_is_no_task(call, given, shown):
    with pytest.raises(TuneError, match=rf"a task is needed, got {shown}[^$]*fs.Task\("):
        call(given)


def test_sizes_of_numpy_are_numbers():
    task = Task("matmul", tuple(np.array([4, 5, 6])))
    assert task.shape == (4, 5, 6)
    assert all(type(size) is int for size in task.shape)


def test_an_unknown_dtype():
    with pytest.raises(ExpressionError, match=r"no dtype 'float31'(.|\n)*float32"):
        Task("matmul", (4, 5, 6), "float31")


# -- schedules ---------------------------------------------------------------------------------------------------


def test_a_candidate_replays_from_its_trace():
    task = Task("matmul", (33, 20, 40), bias=True)
    made = task.candidate(FirstKnobs(), devices["cpu"])
    assert made.decisions["tile_n"] >= 0
    again = task.replay(Trace.from_json(made.trace.to_json()))
    assert str(again.schedule) == str(made.schedule)
    with pytest.raises(ScheduleError):
        Task("relu", (33, 20)).replay(made.trace)


def test_candidates_share_nothing():
    task = Task("relu", (33, 20))
    task.candidate(FirstKnobs(), devices["cpu"])
    assert len(create_schedule(task.args()[-1]).trace) == 0
    task.args().clear()
    assert len(task.args()) == 2


def test_a_template_of_from_te():
    def mine(s, args, knobs, spec):
        knobs.require(knobs.choice("rows", (1, 2)) == 1, "2 is too many")
        s[args[-1]].parallel(s[args[-1]].op.axis[0])

    for template in (mine, {"cpu": mine}):
        task = Task.from_te(programs.pointwise(4, 5), template=template)
        assert "parallel" in str(task.candidate(FirstKnobs(), devices["cpu"]).schedule)
    with pytest.raises(Infeasible, match="2 is too many"):
        task.candidate(type("Last", (FirstKnobs,), {"_pick": lambda *_: 1})(), devices["cpu"])


def test_resized():
    task = Task("matmul", (33, 20, 40), "int8", bias=True)
    small = task.resized((5, 4, 3))
    assert (small.shape, small.dtype, small.options) == ((5, 4, 3), "int8", {"bias": True})
    assert Task.from_te(programs.matmul(4, 5, 6)).resized((1, 1, 1)) is None


# -- travelling --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        Task("matmul", (33, 20, 40), "bfloat16", bias=True, activation="gelu"),
        Task("conv2d", (1, 4, 8, 8, 4, 3, 1, 1), groups=2),
        Task.from_te(programs.matmul(4, 5, 6), name="mine", reference=lambda a, b: a @ b),
        reduced(lambda x, y: x * y, 1.0),
    ],
    ids=repr,
)
def test_a_task_pickles(task):
    again = pickle.loads(pickle.dumps(task))
    assert (again.hash, again.text, again.shape, again.flops) == (task.hash, task.text, task.shape, task.flops)
    args = again.args()
    assert [tensor.name for tensor in args] == [tensor.name for tensor in task.args()]
    assert len(create_schedule(args[-1]).inputs) == len(args) - 1
    assert all(any(tensor is x for x in args) for tensor in create_schedule(args[-1]).inputs)
    assert again.is_registered == task.is_registered
    assert (again.resized(again.shape) is None) == (not task.is_registered)


def test_an_operator_of_a_users_file_is_tuned_though_no_worker_can_import_it(tmp_path):
    """Its file is a script that lies nowhere on the path, and its reference is what the results are held against."""
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        import flashsched as fs
        from flashsched import te

        sign = float(sys.argv[1])

        @fs.operator(shape=(6, 40), reference=lambda x: sign * 2 * x.astype("float64"))
        def doubled(M, N, dtype="float32"):
            x = te.placeholder((M, N), dtype, name="x")
            return [x, te.compute((M, N), lambda i, j: 2 * x[i, j], name="y")]

        @doubled.template("cpu")
        def schedule(s, args, knobs, spec):
            outer, inner = s[args[-1]].split(s[args[-1]].op.axis[1], factor=knobs.choice("lanes", (8, 16)))
            s[args[-1]].vectorize(inner)

        if __name__ == "__main__":
            result = fs.tune(fs.Task(doubled), trials=2, pretrained=False)
            print([record.status for record in result.records], result.best is None)
            print(result.why_nothing())
        """)
    )

    def run(sign):
        done = subprocess.run(
            [sys.executable, "-P", str(script), sign], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "['correct', 'correct'] False" in run("1")
    wrong = run("-1")
    assert "['wrong', 'wrong'] True" in wrong
    assert "wrong result at" in wrong


def test_the_task_of_the_front_page():
    assert fs.Task is Task
    assert Task("matmul", shape=(512, 512, 512), dtype="float32").hash == Task("matmul").hash
