"""What a run leaves: limits, ratios, text and Markdown; documents show what their files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flashsched.bench.cases import Case
from flashsched.bench.machine import Limit, Machine, describe
from flashsched.bench.peers import PEERS
from flashsched.bench.results import CaseResult, Results
from flashsched.bench.table import tables_of, to_markdown, to_text, update
from flashsched.errors import LogError
from flashsched.hw import Measured, probe_host

ROOT = Path(__file__).resolve().parents[2]

MACHINE = Machine(
    model="Some CPU",
    cores=2,
    threads=1,
    isa="avx2",
    caches={"l1": 2**15, "l2": 2**20, "l3": 2**25},
    flops={"float32": 100e9, "float64": 50e9},
    bandwidth={"l1": 400e9, "l2": 100e9, "l3": 50e9, "dram": 10e9, "dram_copy": 8e9},
    versions={"python": "3.11.7", "numpy": "2.4.6"},
)
PRODUCT = Case("matmul-512", "matmul", (512, 512, 512))
ROWS = Case("softmax-4096x1024", "softmax", (4096, 1024))
RESULTS = Results(
    [
        CaseResult(
            PRODUCT,
            {"flashsched": [4e-3, 2e-3, 4e-3], "numpy": [6e-3, 4e-3, 4e-3], "torch": [2e-3, 2e-3, 3e-3]},
            {"flashsched": "kernel(a, b, out)", "numpy": "matmul(out=)", "torch": "oneDNN, packed"},
            {"flashsched": 0.1, "numpy": 0.1, "torch": 0.2},
        ),
        CaseResult(
            ROWS,
            {"numpy": [8e-3] * 3},
            {"numpy": "in place"},
            {"numpy": 0.1},
            {"flashsched": "no such operator", "torch": "its process ended with -11"},
        ),
    ],
    MACHINE,
    "2026-01-02T03:04:05+00:00",
)


def test_a_limit_is_the_peak_or_the_memory_that_holds_the_arrays() -> None:
    assert MACHINE.limit(PRODUCT) == Limit(2 * 512**3 / 100e9, "arithmetic")
    assert MACHINE.limit(Case("d", "matmul", (512, 512, 512), "float64")).seconds == 2 * 512**3 / 50e9
    assert MACHINE.limit(Case("r", "relu", (64, 32))) == Limit(2**14 / 400e9, "l1")
    assert MACHINE.limit(Case("r", "relu", (64, 64))) == Limit(2**15 / 400e9, "l1")  # fills it
    beyond = MACHINE.limit(Case("r", "relu", (128, 64)))
    assert beyond == Limit(2**15 / 400e9 + 2**15 / 100e9, "l2")
    far = MACHINE.limit(Case("r", "relu", (4096, 2048)))
    whole = 2**15 / 400e9 + (2**20 - 2**15) / 100e9 + (2**25 - 2**20) / 50e9 + 2**25 / 10e9
    assert (far.seconds, far.binding) == (pytest.approx(whole), "dram")
    assert MACHINE.limit(ROWS).binding == "l3"
    assert Machine("x", 1, 1, flops={"float32": 1e9}).limit(ROWS).binding == "arithmetic"


def test_threads_have_no_more_than_all_cores_together() -> None:
    host = probe_host()
    measured = Measured(
        fingerprint="x", cores=host.cores, fma_flops={"float32": 3.0, "float64": 1.5},
        fma_flops_all={"float32": 2.0 * host.cores, "float64": 1.5 * host.cores},
        bandwidth={"dram": 5.0}, bandwidth_all={"dram": 6.0},
    )  # fmt: skip
    one = describe(host, measured, 1, [PEERS["numpy"]])
    assert (one.flops["float32"], one.bandwidth["dram"]) == (3.0, 5.0)
    assert set(one.versions) == {"python", "numpy"}
    assert one.caches == {name: size for name, (size, _) in host.caches.items()}
    if host.cores > 1:
        two = describe(host, measured, 2, [])
        assert two.flops["float32"] == min(6.0, 2.0 * host.cores)
        assert two.bandwidth["dram"] == 6.0
        assert two.caches == {name: size * (1 if shared else 2) for name, (size, shared) in host.caches.items()}


def test_ratios_are_medians_over_rounds() -> None:
    product, rows = RESULTS.cases
    assert product.best == "torch"
    assert product.ratio("numpy") == 1.5
    assert product.ratio("torch") == 0.75
    assert product.rate("numpy") == pytest.approx(2 * 512**3 / 4e-3 / 1e9)
    assert (product.unit, rows.unit) == ("GFLOP/s", "GB/s")
    assert rows.best == "numpy"
    assert CaseResult(PRODUCT, {"flashsched": [1.0]}).best is None


def test_results_read_back(tmp_path: Path) -> None:
    text = RESULTS.to_json()
    assert Results.from_json(text) == RESULTS
    assert Results.from_json(text).to_json() == text
    (tmp_path / "r.json").write_text(text, encoding="utf-8")
    assert Results.read(tmp_path / "r.json") == RESULTS
    found = json.loads(text)["cases"][0]
    assert found["ratio"] == {"numpy": 1.5, "torch": 0.75}
    assert found["limited_by"] == "arithmetic"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not the results of a benchmark: JSONDecodeError"),
        ("[]", "not the results of a benchmark: TypeError"),
        ("{}", "not the results of a benchmark: KeyError: 'schema'"),
        ('{"schema": "flashsched.bench/0"}', "its schema is 'flashsched.bench/0', not 'flashsched.bench/1'"),
    ],
)
def test_what_is_no_result_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(LogError, match=says):
        Results.from_json(text)
    with pytest.raises(LogError, match="cannot read"):
        Results.read(tmp_path / "nowhere.json")


def test_the_text() -> None:
    assert (
        to_text(RESULTS)
        == """\
Some CPU, one thread, FMA peak 100 GFLOP/s, memory 10 GB/s

case               unit     flashsched  of limit  by          best other  ratio  numpy  torch
-----------------  -------  ----------  --------  ----------  ----------  -----  -----  -----
matmul-512         GFLOP/s  67.1        67%       arithmetic  torch       0.75x  67.1   134.2
softmax-4096x1024  GB/s     -                     l3          numpy       -      4.2    -

softmax-4096x1024: flashsched: no such operator
softmax-4096x1024: torch: its process ended with -11

vs numpy: 1.50x over 1 case
vs torch: 0.75x over 1 case
vs the best of each case: 0.75x over 1 case, at worst 0.75x (matmul-512, torch)"""
    )


MARKDOWN = """\
| Case |  | flashsched | NumPy | PyTorch | of the limit | to the best other |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
| matmul-512 | GFLOP/s | 67 | 67 | **134** | 67% | 0.75× |
| softmax-4096x1024 | GB/s | – | **4.2** | – | – | – |

Some CPU, one thread, FMA peak 100 GFLOP/s, memory 10 GB/s; 2026-01-02; python 3.11.7, numpy 2.4.6.
Against the best of each case: 0.75× over 1 case, at worst 0.75× (matmul-512, torch).
"""


def test_the_markdown() -> None:
    assert to_markdown(RESULTS) == MARKDOWN


def test_a_page_is_written_anew_between_its_marks(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.json").write_text(RESULTS.to_json(), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: results/one.json -->\nold\n<!-- /bench -->\nafter\n", encoding="utf-8")
    assert tables_of(page) == [("results/one.json", "old\n")]
    assert update(page) == 1
    expected = f"before\n<!-- bench: results/one.json -->\n{MARKDOWN}<!-- /bench -->\nafter\n"
    assert page.read_text(encoding="utf-8") == expected
    assert update(page) == 1
    assert page.read_text(encoding="utf-8") == expected


def test_the_readme_shows_what_its_files_hold() -> None:
    tables = tables_of(ROOT / "README.md")
    assert tables, "README.md has no line <!-- bench: FILE -->"
    for file, table in tables:
        assert table == to_markdown(Results.read(ROOT / file)), "flashsched bench --page README.md writes it anew"


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda file: file.name)
def test_results_that_are_kept_can_be_read(file: Path) -> None:
    kept = Results.read(file)
    assert kept.cases
    for case in kept.cases:
        assert kept.machine.limit(case.case).seconds > 0
        for peer in case.seconds:
            assert case.median(peer) > 0
