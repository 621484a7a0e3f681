"""What was asked for wrongly gets a sentence that says what would be right, and exit code 2; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

OPERATORS = """
import flashsched as fs
from flashsched import te

print("a file may talk")

@fs.operator(shape=(8, 8))
def scaled_add(M, N, dtype="float32", scale=2.0):
    X = te.placeholder((M, N), dtype, name="X")
    Y = te.placeholder((M, N), dtype, name="Y")
    return [X, Y, te.compute((M, N), lambda i, j: scale * X[i, j] + Y[i, j], name="Z")]

def graph():
    X = te.placeholder((6,), name="X")
    return [X, te.compute((6,), lambda i: X[i] + 1, name="Y")]

def sized(N, dtype="float32"):
    X = te.placeholder((N,), dtype, name="X")
    return [X, te.compute((N,), lambda i: X[i] + 1, name="Y")]

def broken():
    return te.nothing

def number():
    return 7

task = fs.Task.from_te(graph(), name="plus_one")
tensors = graph()
constant = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OPERATORS, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tun"], "No such command 'tun'"),
        (["tune"], "Missing argument 'WORKLOAD'"),
        (["tune", "matmul", "--trals", "3"], "'--trials'"),
        (["tune", "matmull"], "no operator named 'matmull'\n  hint: did you mean matmul?"),
        (["tune", "matmul", "--shape", "1,2"], "a shape of 3 numbers (M,N,K), and got 2: 1,2"),
        (["bench", "--shape", "8,8,8"], "--shape is of one operator"),
        (["bench", "matmul-512", "--shape", "8,8,8"], "no operator named 'matmul-512'"),
        (["bench", "matmul", "--dtype", "float64"], "--dtype and --option are of a shape of your own"),
        (["bench", "sum", "--shape", "8,8"], "sum is not measured beside other libraries"),
        (["bench", "matmul", "--shape", "8,8,0"], "nothing to measure in a shape of (8, 8, 0)"),
        (["bench", "matmul", "--shape", "8,8,8", "--dtype", "int8"], "in float32 and float64, not int8"),
        (["bench", "matmul", "--shape", "8,8,8", "-o", "activation=silu"], "not asked for matmul with activation=silu"),
        (["tune", "matmul", "--shape", "8,8,-8"], "'8,8,-8' is no shape: give whole numbers parted by commas"),
        (["tune", "matmul", "--shape", ""], "'' is no shape"),
        (["tune", "matmul", "--shape", "8,8,8.5"], "'8,8,8.5' is no shape"),
        (["tune", "matmul", "--dtype", "float31"], "'float31'"),
        (["tune", "matmul", "--option", "bias"], "'bias' is no KEY=VALUE"),
        (["tune", "matmul", "-o", "bias=maybe"], "option bias is true or false, and got 'maybe'"),
        (["tune", "matmul", "-o", "bais=true"], "matmul has no option 'bais'\n  hint: did you mean bias?"),
        (["tune", "matmul", "--activation", "tanhh"], "no activation 'tanhh'"),
        (["tune", "add", "--bias"], "add has no option 'bias'"),
        (["tune", "conv2d", "-o", "groups=two"], "option groups is a number, and got 'two'"),
        (["tune", "matmul", "--device", "a11-sim"], "unknown device 'a11-sim'\n  hint: did you mean"),
        (["tune", "matmul", "--device", "missing.toml"], "cannot read device file missing.toml"),
        (["tune", "matmul", "--trials", "0"], "'--trials': 0 is not in the range x>=1"),
        (["tune", "matmul", "--trials", "many"], "'many' is not a valid integer"),
        (["tune", "matmul", "--time-budget", "-1"], "'--time-budget': -1.0 is not in the range x>0"),
        (["tune", "matmul", "--sampler", "luck"], "'luck' is not one of 'tpe', 'random'"),
        (["tune", "missing.py:thing"], "there is no file missing.py"),
        (["tune", "mine.py"], "needs a name behind it\n  hint: one of mine.py:scaled_add"),
        (["tune", "mine.py:scaled_ad"], "mine.py has no 'scaled_ad'\n  hint: did you mean scaled_add?"),
        (["tune", "mine.py:constant"], "mine.py:constant is of type int, and there is nothing in it to run"),
        (["tune", "mine.py:number"], "number() must return a list of tensors, and returned int"),
        (["tune", "mine.py:sized"], "sized takes a shape of 1 number (N)\n  hint: give --shape"),
        (["tune", "mine.py:graph", "--shape", "3"], "graph() takes no sizes"),
        (["tune", "mine.py:graph", "--dtype", "int8"], "graph() has no parameter dtype"),
        (["tune", "mine.py:task", "--dtype", "int8"], "mine.py:task is fixed as it stands, and takes no --dtype"),
        (["tune", "mine.py:tensors", "-o", "a=1"], "mine.py:tensors is fixed as it stands, and takes no --option"),
        (["tune", "matmul", "--log", "mine.py"], "mine.py is no tuning log, and nothing is appended to it"),
        (["tune", "matmul", "--log", "mine.py/x.jsonl"], "cannot write the log mine.py/x.jsonl: "),
        (["tune", "matmul", "--log", "."], "cannot write the log .: Is a directory"),
        (["report"], "Missing argument 'LOG...'"),
        (["report", "missing.jsonl"], "there is no log at missing.jsonl"),
        (["report", "."], "there is no log (*.jsonl) in ."),
        (["report", "a", "--json", "--csv"], "--json, --csv and --html exclude each other"),
        (["show", "matmul", "--stage", "asmm"], "'asmm' is not one of"),
        (["show", "matmul", "--log", "missing.jsonl"], "there is no log at missing.jsonl"),
        (["show", "matmul", "--shape", "8,8,8", "--stage", "ptx"], "cpu has no PTX"),
        (["show", "matmul", "--shape", "8,8,8", "--device", "m1", "--stage", "ptx"], "no code is made for"),
        (["devices", "a11"], "unknown device 'a11'"),
        (["devices", "a100[units=many]"], "is no field=number"),
        (["devices", "--check", "mine.py"], "mine.py is not valid TOML"),
        (["devices", "a100", "--check", "x.toml"], "--check takes a file and nothing else"),
        (["devices", "--check"], "Option '--check' requires an argument.\n  see: flashsched devices --help"),
        (["log", "explain", "a", "--orders"], "requires an argument.\n  see: flashsched log explain --help"),
        (["devices", "--toml"], "--toml takes the name of one device"),
        (["devices", "a100", "--toml", "--json"], "--toml and --json exclude each other"),
        (["tune", "matmul", "--shape", "8,8,8", "--device", "t4-sim", "--dtype", "bfloat16"], "no peak for bfloat16"),
        (["simulate", "attention", "--device", "ane-m1"], "device 'ane-m1-sim' has no peak for float32"),
        (
            ["simulate", "matmul", "--device", "a100", "--shape", "1000000000000000000000,1,1"],
            "m must be a whole number",
        ),
        (["simulate", "matmul"], "Missing option '--device'"),
        (["simulate", "matmul", "--device", "nope"], "unknown device 'nope'"),
        (["log"], "Missing command"),
        (["log", "verfy"], "No such command 'verfy'"),
        (["log", "verify", "missing.jsonl"], "there is no log at missing.jsonl"),
        (["log", "merge", "out.jsonl", "missing.jsonl"], "there is no log at missing.jsonl"),
        (["log", "merge", "no/out.jsonl", "mine.py"], "there is no folder no to write out.jsonl in"),
        (["log", "compact", "missing.jsonl"], "there is no log at missing.jsonl"),
        (["log", "compact", "mine.py", "--keep", "0"], "0 is not in the range x>=1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(cli: Cli, mine: Path, arguments: list[str], says: str) -> None:
    before = mine.read_text(encoding="utf-8")
    done = cli(*arguments)
    assert says in done.err
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert "click" not in done.err
    assert mine.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", "mine.py:1: SyntaxError: invalid syntax"),
        ("x = 1\ny = x / 0\n", "mine.py:2: ZeroDivisionError: division by zero\n  | y = x / 0"),
        ("import not_there\n", "mine.py:1: ModuleNotFoundError: No module named 'not_there'"),
        ("open('nowhere')\n", "mine.py:1: FileNotFoundError"),
        ("raise SystemExit(4)\n", "ended the program while it was imported (exit code 4)"),
        ("from flashsched import te\nte.placeholder((2,), 'flot32')\n", "at mine.py:2"),
    ],
)
def test_a_users_file_that_fails_is_shown_at_its_own_line(cli: Cli, mine: Path, text: str, says: str) -> None:
    mine.write_text(text, encoding="utf-8")
    done = cli("tune", "mine.py:f")
    assert says in done.err
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err


def test_a_users_function_that_fails_is_shown_at_its_own_line(cli: Cli, mine: Path) -> None:
    done = cli("show", "mine.py:broken", "--stage", "te")
    assert (done.code, done.out) == (1, "")
    assert "| return te.nothing" in done.err


@pytest.mark.parametrize("name", ["scaled_add", "graph", "task", "tensors"])
def test_what_a_users_file_may_hold(cli: Cli, mine: Path, name: str) -> None:
    done = cli("show", f"{mine}:{name}", "--stage", "te")
    assert (done.code, "X: float32[" in done.out) == (0, True)
    assert done.err == "a file may talk\n"  # and never on standard output


def test_options_take_the_types_of_their_defaults(cli: Cli, mine: Path) -> None:
    done = cli("show", "mine.py:scaled_add", "--shape", "4x3", "-o", "scale=0.5", "--dtype", "float64", "--stage", "te")
    assert "X: float64[4, 3]" in done.out
    assert "0.5" in done.out


def test_a_file_finds_the_modules_beside_it(cli: Cli, mine: Path) -> None:
    (mine.parent / "sizes.py").write_text("SIZE = 5\n", encoding="utf-8")
    mine.write_text(OPERATORS + "\nimport sizes\ndef f():\n    return [*graph()[:1], graph()[1]] and graph()\n")
    assert cli("show", "mine.py:f", "--stage", "te").code == 0


def test_debug_shows_the_traceback(cli: Cli, mine: Path) -> None:
    mine.write_text("1 / 0\n", encoding="utf-8")
    done = cli("tune", "mine.py:f", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err
