from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from flashsched.errors import LogError
from flashsched.tune.logs.log import LogWarning, TuningLog, compact, merge, read, verify
from flashsched.tune.logs.record import Record

TASK = {"op": "matmul", "shape": [8, 8, 8], "dtype": "float32", "text": "matmul[8,8,8]:float32", "hash": "ab12"}


def record(trial: int = 0, status: str = "correct", time_s: float = 0.5, **changes: object) -> Record:
    good = status in ("correct", "unverified")
    fields: dict[str, object] = {
        "task": TASK,
        "trace": {"steps": [], "decisions": {"tile": trial}},
        "device": "cpu",
        "source": "measured",
        "status": status,
        "trial": trial,
        "times_s": [time_s] if good else [],
        "verified": {"max_error": 0.0, "tolerance": 1e-5} if good else None,
    }
    return Record(**(fields | changes))  # type: ignore[arg-type]


def trials(path: Path) -> list[int]:
    return [entry.trial for entry in read(path)]


def filled(path: Path, count: int = 3) -> TuningLog:
    log = TuningLog(path)
    for trial in range(count):
        log.append(record(trial))
    return log


# -- appending and reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", [False, True])
def test_what_is_appended_is_read_in_order(tmp_path, fsync):
    log = TuningLog(tmp_path / "deep" / "er" / "log.jsonl", fsync=fsync)
    assert list(log.read()) == []
    records = [record(trial) for trial in range(5)]
    log.append(records[0])
    log.append()
    log.append(*records[1:])
    assert list(log.read()) == records == list(read(log.path))


def test_blank_lines_and_windows_line_ends_are_no_damage(tmp_path):
    path = filled(tmp_path / "log").path
    path.write_bytes(b"\n" + path.read_bytes().replace(b"\n", b"\r\n\n"))
    assert trials(path) == [0, 1, 2]


def test_reading_is_a_stream(tmp_path):
    path = tmp_path / "log"
    TuningLog(path).append(*[record(trial, extra={"fat": "x" * 1000}) for trial in range(3000)])
    tracemalloc.start()
    count = sum(1 for _ in read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3000
    assert peak < 500_000 < path.stat().st_size / 6


def test_a_damaged_line_is_skipped_with_a_warning_that_names_it(tmp_path):
    path = filled(tmp_path / "log").path
    path.write_text(path.read_text().replace('"trial":1', '"trial":9'))
    with pytest.warns(LogWarning, match=r"log:2: skipped: the checksum does not fit"):
        assert trials(path) == [0, 2]


def test_binary_noise_and_an_endless_line_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr("flashsched.tune.logs.log.MAX_LINE", 4096)
    path = filled(tmp_path / "log", 1).path
    with path.open("ab") as file:
        file.write(bytes(range(256)) + b"\n" + b"x" * 10_000 + b"\n")
    TuningLog(path).append(record(5))
    with pytest.warns(LogWarning) as caught:
        assert trials(path) == [0, 5]
    assert any("longer than" in str(warning.message) for warning in caught)


def test_a_newer_format_is_refused_with_file_line_and_advice(tmp_path):
    path = filled(tmp_path / "log", 1).path
    with path.open("a") as file:
        file.write(json.dumps({"schema": "flashsched.tuning/2", "body": "?"}) + "\n")
    for reader in (lambda: trials(path), lambda: verify(path), lambda: compact(path)):
        with pytest.raises(LogError, match=r"(?s)log:2: the log has format flashsched.tuning/2.*hint: pip install"):
            reader()


def test_no_log_there(tmp_path):
    for reader in (read, verify, compact):
        with pytest.raises(LogError, match=r"(?s)there is no log at .*absent.jsonl.*hint: flashsched tune"):
            reader(tmp_path / "absent.jsonl")


# -- torn tails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 100])
def test_a_torn_last_line_is_moved_aside_by_the_next_append(tmp_path, keep):
    log = filled(tmp_path / "log")
    whole = log.path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    torn = whole[last : last + keep] if keep else whole[last:-5]
    log.path.write_bytes(whole[:last] + torn)
    with pytest.warns(LogWarning, match=r"log:3: skipped: torn"):
        assert trials(log.path) == [0, 1]
    with pytest.warns(LogWarning, match=rf"last line was torn \({len(torn)} bytes\); it was moved to log.torn"):
        log.append(record(7))
    assert trials(log.path) == [0, 1, 7]
    assert (tmp_path / "log.torn").read_bytes() == torn + b"\n"


def test_a_log_that_is_one_torn_line(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"schema"' + b"x" * 200_000)
    with pytest.warns(LogWarning, match="torn"):
        TuningLog(path).append(record(1))
    assert trials(path) == [1]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path):
    log = filled(tmp_path / "log")
    log.path.write_bytes(log.path.read_bytes().rstrip(b"\n"))
    assert trials(log.path) == [0, 1, 2]
    log.append(record(3))
    assert trials(log.path) == [0, 1, 2, 3]


def test_torn_text_stays_where_no_sidecar_can_be_written(tmp_path):
    log = filled(tmp_path / "log", 1)
    (tmp_path / "log.torn").mkdir()
    with log.path.open("ab") as file:
        file.write(b'{"sche')
    with pytest.warns(LogWarning, match="closed and will be skipped"):
        log.append(record(1))
    with pytest.warns(LogWarning, match=r"log:2: skipped: not JSON"):
        assert trials(log.path) == [0, 1]


# -- disks and paths ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told():
    with pytest.raises(LogError, match=r"(?s)cannot write /dev/full: No space left.*hint: make room.*--resume"):
        TuningLog("/dev/full").append(record())


def test_a_write_that_stops_half_way_is_taken_back(tmp_path):
    log = filled(tmp_path / "log")
    before = log.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(LogError, match=r"(?s)cannot write .*log: File too large.*records before are whole"):
            log.append(record(3))
        assert log.path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append(record(3))
    assert trials(log.path) == [0, 1, 2, 3]


def test_a_folder_or_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogError, match=r"cannot write .*folder: Is a directory"):
        TuningLog(tmp_path / "folder").append(record())
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match=r"(?s)cannot write .*file/log: .*hint: name another file with --log"):
        TuningLog(tmp_path / "file" / "log").append(record())
    with pytest.raises(LogError, match=r"cannot read .*folder: Is a directory"):
        list(read(tmp_path / "folder"))


@pytest.mark.skipif(os.name == "posix" and os.getuid() == 0, reason="root may write anywhere")
def test_a_path_without_permission_is_told(tmp_path):
    path = filled(tmp_path / "log").path
    path.chmod(0o400)
    with pytest.raises(LogError, match=r"cannot write .*Permission denied"):
        TuningLog(path).append(record())


def test_a_lock_that_is_never_given_up_is_told(tmp_path):
    import fcntl

    log = filled(tmp_path / "log")
    with log.path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(LogError, match=r"(?s)held the lock of .*log for too long.*hint: see who"):
            TuningLog(log.path, lock_timeout_s=0.05).append(record())
    log.append(record(3))
    assert trials(log.path) == [0, 1, 2, 3]


# -- several writers ------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_log import TuningLog, record
log, me = TuningLog({path!r}), int(sys.argv[1])
for n in range({count}):
    log.append(record(me * 1_000_000 + n, extra={{"fat": "x" * {fat}}}))
"""


def writer(path: Path, me: int, count: int, fat: int = 0) -> subprocess.Popen[bytes]:
    code = WRITER.format(here=str(Path(__file__).parent), path=str(path), count=count, fat=fat)
    return subprocess.Popen([sys.executable, "-c", code, str(me)])


def test_four_writers_lose_nothing_while_the_log_is_compacted_under_them(tmp_path):
    path = filled(tmp_path / "log", 1).path
    writers = [writer(path, me, 300) for me in range(1, 5)]
    swaps = 0
    while any(process.poll() is None for process in writers):
        compact(path, keep=10_000)
        swaps += 1
        time.sleep(0.01)
    assert [process.wait() for process in writers] == [0] * 4
    assert swaps > 3
    expected = [me * 1_000_000 + n for me in range(1, 5) for n in range(300)]
    assert sorted(trials(path)) == [0, *expected]
    for me in range(1, 5):  # each writer's own records stand in its order
        mine = [trial for trial in trials(path) if trial // 1_000_000 == me]
        assert mine == sorted(mine)


@pytest.mark.filterwarnings("ignore::flashsched.tune.logs.log.LogWarning")
def test_writers_killed_at_any_moment_leave_a_whole_log(tmp_path):
    path = tmp_path / "log"
    for me in range(1, 4):
        process = writer(path, me, 10**9, fat=200_000)
        deadline = time.monotonic() + 20
        while not (path.exists() and any(r.trial // 1_000_000 == me for r in read(path))):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        TuningLog(path).append(record(me))
    summary = verify(path)
    assert summary.ok
    assert summary.records == len(trials(path))
    for me in range(1, 4):  # what a killed writer had finished is there without a gap
        mine = [trial % 1_000_000 for trial in trials(path) if trial // 1_000_000 == me]
        assert mine == list(range(len(mine)))
        assert me in trials(path)


# -- verify, merge, compact -----------------------------------------------------------------------------------------


def test_verify_counts_and_names_the_damage(tmp_path):
    log = filled(tmp_path / "log", 2)
    log.append(record(2, "crash"), record(3, "unverified", source="simulated", task=TASK | {"hash": "cd"}))
    log.append(next(iter(log.read())))
    assert verify(log.path).ok
    with log.path.open("a") as file:
        file.write("junk\n{torn")
    summary = verify(log.path)
    assert (summary.records, summary.tasks, summary.duplicates, summary.ok) == (5, 2, 1, False)
    assert summary.statuses == {"correct": 3, "crash": 1, "unverified": 1}
    assert summary.sources == {"measured": 4, "simulated": 1}
    assert [(damage.line, damage.reason.split(" (")[0]) for damage in summary.damaged] == [
        (6, "not JSON"),
        (7, "torn: the line has no end"),
    ]


def test_merge_keeps_each_record_once_in_order_of_time(tmp_path):
    records = [record(trial, started_at=f"2026-01-01T00:00:0{trial}Z", extra={"odd": [trial]}) for trial in range(6)]
    TuningLog(tmp_path / "a").append(records[4], records[0], records[2])
    TuningLog(tmp_path / "b").append(records[2], records[1])
    TuningLog(tmp_path / "out").append(records[5], records[3])
    summary = merge([tmp_path / "a", tmp_path / "b", tmp_path / "a"], tmp_path / "out")
    assert list(read(tmp_path / "out")) == records
    assert (summary.records, summary.duplicates) == (6, 0)
    again = (tmp_path / "out").read_bytes()
    merge([tmp_path / "out", tmp_path / "b"], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out"]


def test_merge_makes_a_new_log_and_copies_lines_byte_for_byte(tmp_path):
    path = filled(tmp_path / "a").path
    merge([path], tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == path.read_bytes()


def test_merge_warns_of_damage_and_of_one_id_with_two_contents(tmp_path):
    TuningLog(tmp_path / "a").append(record(1, record_id="same", started_at="t"))
    TuningLog(tmp_path / "b").append(record(2, record_id="same", started_at="t"))
    with (tmp_path / "b").open("a") as file:
        file.write("junk\n")
    with pytest.warns(LogWarning) as caught:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert [str(warning.message).split(": ", 1)[1] for warning in caught] == [
        "skipped: record same was seen before with other content",
        "skipped: not JSON (Expecting value: line 1 column 1 (char 0))",
    ]
    assert trials(tmp_path / "out") == [1]


def test_merge_refuses_a_missing_log_before_it_writes(tmp_path):
    with pytest.raises(LogError, match="there is no log at"):
        merge([tmp_path / "absent"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merge_that_fails_leaves_out_as_it_was(tmp_path, monkeypatch):
    filled(tmp_path / "a")
    before = filled(tmp_path / "out", 1).path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LogError, match=r"cannot write .*out: No space left on device"):
        merge([tmp_path / "a"], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_compact_keeps_the_best_of_each_task_and_device(tmp_path):
    log = TuningLog(tmp_path / "log")
    log.append(record(0, time_s=3), record(1, time_s=1), record(2, "crash"), record(3, "unverified", time_s=0.1))
    log.append(record(4, time_s=2), record(5, time_s=9, device="other"), record(6, time_s=9, target={"cpu": "x"}))
    assert compact(log.path, keep=2) == 3
    assert trials(log.path) == [1, 4, 5, 6]
    assert compact(log.path, keep=2) == 0
    with pytest.raises(LogError, match="at least 1 record of each task, got keep=0"):
        compact(log.path, keep=0)


def test_a_swap_keeps_links_and_permissions(tmp_path):
    path = filled(tmp_path / "log").path
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    compact(tmp_path / "link", keep=1)
    assert (tmp_path / "link").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert trials(path) == [0]
