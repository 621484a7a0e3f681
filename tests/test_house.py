"""The floors of the house: who may import whom, one door per dependency, small files, a cheap import."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "flashsched"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# A module lives on the floor of the first part of its path. Imports go down, or stay within one part.
FLOORS = {
    "errors": 0,
    "te": 1,
    "hw": 1,
    "schedule": 2,
    "codegen": 3,
    "ops": 4,
    "testing": 4,  # random graphs and schedules, for tests and fuzzing
    "tune": 5,
    "functions": 6,
    "graph": 6,
    "bench": 7,
    "api": 7,
    "compat": 7,
    "cli": 7,
    "__init__": 8,  # the front door: shows what `import flashsched as fs` offers
    "__main__": 8,
}
NEIGHBOURS = {
    ("cli", "api"),
    ("cli", "bench"),
    ("compat", "api"),
}  # the only imports allowed along a floor
# The two imports that go up, each at need only: people write `te.create_schedule`, so te hands it on; and what a CPU
# has that FLASHSCHED_TARGET names, the code generator alone can tell.
UPWARD = {("te/__init__.py", "flashsched.schedule"), ("hw/host.py", "flashsched.codegen.target")}

# Which modules may import a dependency: one, a folder, or one for each of two jobs. What is not named here (or in
# EVERYWHERE) nobody may.
DOORS = {
    "llvmlite": "codegen/",
    "optuna": ("tune/search/proposer.py", "tune/search/shared.py"),  # proposing, and its storage
    "sklearn": "tune/costmodel/learners.py",
    "pandas": "tune/logs/report.py",
    "scipy": "hw/validation/fit.py",
    "click": "cli/",
    "distributed": "tune/measuring/fleet.py",
    "halide": "bench/peers/halide.py",
    "jax": "bench/peers/jax.py",
    "onnx": "bench/peers/onnxruntime.py",
    "onnxruntime": "bench/peers/onnxruntime.py",
    "openvino": "bench/peers/openvino.py",
    "tvm": "bench/peers/tvm.py",
    "torch": "bench/peers/torch.py",
    "hypothesis": "testing/",
}
EVERYWHERE = {"numpy", "ml_dtypes", "platformdirs"}
HEAVY = ("llvmlite", "optuna", "sklearn", "scipy", "pandas", "click", "distributed")

LONGEST = 420  # lines; a file over ~400 is two ideas
IMPORT_BUDGET_S = 0.100  # what `import flashsched` may cost over `import numpy`


def part_of(module: str) -> str:
    """The top-level part that a path belongs to: ``te/expr.py`` is in ``te``, ``cli.py`` in ``cli``."""
    return module.split("/")[0].removesuffix(".py")


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports_of(module: str) -> Iterator[tuple[int, str]]:
    """Each import as ``(line, dotted name)``, relative ones resolved, those inside functions and TYPE_CHECKING too."""
    package = ["flashsched", *module.split("/")[:-1]]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            if source == "flashsched":  # `from flashsched import te` imports a part by name
                yield from ((node.lineno, f"flashsched.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, source


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    here = part_of(module)
    for line, name in imports_of(module):
        root, *inner = name.split(".")
        if root != "flashsched" or (module, name) in UPWARD:
            continue
        there = inner[0] if inner and inner[0] in FLOORS else "__init__"
        allowed = here == there or FLOORS[there] < FLOORS[here] or (here, there) in NEIGHBOURS
        assert allowed, (
            f"flashsched/{module}:{line} imports {name}: {here} (floor {FLOORS[here]}) may not know "
            f"{there} (floor {FLOORS[there]})"
        )


def typing_lines(module: str) -> set[int]:
    """The lines under ``if TYPE_CHECKING:``, whose imports load nothing."""
    blocks = [
        node
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {line for node in blocks for line in range(node.lineno, (node.body[-1].end_lineno or 0) + 1)}


@pytest.mark.parametrize("module", MODULES)
def test_each_dependency_has_one_door(module: str) -> None:
    for line, name in imports_of(module):
        root = name.split(".")[0]
        if root == "flashsched" or root in sys.stdlib_module_names or root in EVERYWHERE:
            continue
        if line in typing_lines(module):
            continue
        door = DOORS.get(root)
        where = f"flashsched/{module}:{line} imports {name}"
        assert door, f"{where}, which no module may: give it a door here and a line in pyproject.toml"
        doors = (door,) if isinstance(door, str) else door
        fits = any(module == one or (module.startswith(one) and one.endswith("/")) for one in doors)
        assert fits, f"{where}; its door is {' or '.join(doors)}"


def test_every_part_has_a_floor() -> None:
    assert {part_of(module) for module in MODULES} <= set(FLOORS)


def test_every_door_is_a_declared_dependency() -> None:
    declared = importlib.metadata.requires("flashsched") or []
    names = {re.split(r"[^\w.-]", line)[0].lower().replace("-", "_") for line in declared}
    called = {"sklearn": "scikit_learn", "tvm": "apache_tvm"}
    assert {called.get(name, name) for name in {*DOORS, *EVERYWHERE}} <= names


@pytest.mark.parametrize("module", MODULES)
def test_a_module_introduces_itself(module: str) -> None:
    tree = tree_of(module)
    assert ast.get_docstring(tree), f"flashsched/{module} has no docstring: say what lives there, and why apart"
    if Path(module).name in ("__init__.py", "__main__.py"):
        return
    targets = {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    assert "__all__" in targets, f"flashsched/{module} has no __all__"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_one_idea(module: str) -> None:
    lines = len((PACKAGE / module).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"flashsched/{module} has {lines} lines; over 400 it is two ideas"


def test_no_drawer_for_odds_and_ends() -> None:
    own = [module for module in MODULES if not module.startswith("compat/")]  # those have the names that others gave
    odd = [module for module in own if Path(module).stem in ("utils", "util", "helpers", "misc", "common")]
    assert not odd, f"name these after what they do: {odd}"


def run_python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_import_is_cheap() -> None:
    program = "import time, numpy; start = time.perf_counter(); import flashsched; print(time.perf_counter() - start)"
    seconds = [float(run_python(program)) for _ in range(7)]
    assert min(seconds) <= IMPORT_BUDGET_S, f"import flashsched costs {1e3 * min(seconds):.0f} ms over numpy's"


def test_import_leaves_the_heavy_libraries_out() -> None:
    loaded = run_python(f"import sys, flashsched; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded.strip() == "[]"
