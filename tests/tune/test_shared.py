"""Several coordinators search together through a database, and each goes on alone when it is lost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import flashsched as fs
from flashsched.errors import TuneError
from flashsched.testing import programs
from flashsched.tune.costmodel import cost_model
from flashsched.tune.logs.log import merge, read, verify
from flashsched.tune.logs.record import Record, new_record_id
from flashsched.tune.search import pool, shared
from flashsched.tune.search.shared import SharedSearch, StorageWarning, study_name
from flashsched.tune.task import Task

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few candidates for a batch, nothing learned, and a database that is asked often."""
    monkeypatch.setattr(pool, "_FIRST", 8)
    monkeypatch.setattr(pool, "_FRESH", 6)
    monkeypatch.setattr(cost_model, "_FEWEST", 10_000)
    monkeypatch.setattr(shared, "_PAUSE_S", 0.1)
    monkeypatch.setattr(shared, "_MOST_PAUSE_S", 0.2)


def splits(s, args, knobs, spec):
    for name, axis in zip("ij", args[-1].op.axis, strict=True):
        s[args[-1]].split(axis, factor=knobs.choice(name, tuple(range(1, 20))))


TASK = Task.from_te(programs.pointwise(33, 40), template={"gpu": splits})


def record(number=0, **changes):
    fields = {
        "task": TASK.to_json(), "trace": {"decisions": {"i": number, "j": 1}, "steps": [], "version": 1},
        "device": "a100-sim", "source": "simulated", "status": "unverified", "trial": number,
        "times_s": [1e-6 * (number + 1)], "extra": {"sizes": {"i": 19, "j": 19}},
    }  # fmt: skip
    return Record(**{**fields, **changes})


def heard(search, count, within_s=200.0):
    found, deadline = [], time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"heard {len(found)} of {count}"
        found += search.news()
        time.sleep(0.01)
    return found


@pytest.fixture
def url(tmp_path):
    """A database in a file: what needs no server is tried with that."""
    return f"sqlite:///{tmp_path}/shared.db"


def test_what_one_tells_the_others_hear_once(url):
    one, two = SharedSearch(url, "s"), SharedSearch(url, "s")
    other = SharedSearch(url, "another")
    told = [record(0), record(1, status="crash", times_s=[], error="SIGSEGV"), record(2)]
    for item in told:
        one.tell(item)
    assert heard(two, 3) == told
    late = SharedSearch(url, "s")
    assert late.news() == told  # at once: a run knows what was found before it begins
    time.sleep(0.1)
    assert one.news() == two.news() == other.news() == []
    trials = two._opened.get_trials()
    assert [trial.value for trial in trials] == [1e-6, None, 3e-6]
    assert trials[0].params == {"i/19": 0, "j/19": 1}
    for search in (one, two, late, other):
        search.close()


def test_a_record_that_is_none_is_passed_over(url):
    one = SharedSearch(url, "s")
    two = SharedSearch(url, "s")
    one._opened.set_user_attr("about", "something else")
    trial = one._opened.ask()
    trial.set_user_attr("record", '{"schema":"flashsched.tuning/9"}')
    one._opened.tell(trial, 1.0)
    one.tell(record(5))
    assert [item.trial for item in heard(two, 1)] == [5]
    one.close()
    two.close()


def test_a_storage_that_cannot_be_used_is_refused_at_once(tmp_path):
    with pytest.raises(TuneError, match=r"storage sqlite:////no/such/folder/x\.db cannot be used"):
        SharedSearch("sqlite:////no/such/folder/x.db", "s")
    with pytest.raises(
        TuneError, match=r"storage postgresql://me@127\.0\.0\.1:9/x cannot be used(.|\n)*createdb"
    ) as told:
        SharedSearch("postgresql://me:secret@127.0.0.1:9/x", "s")
    assert "secret" not in str(told.value)


def test_a_study_is_of_one_task_and_one_kind_of_machine():
    here = {"cpu": "znver4", "vector_bits": 512, "cores": 2}
    names = {
        study_name(TASK, "cpu", here),
        study_name(TASK, "cpu", {**here, "cpu": "znver5"}),
        study_name(Task("relu", (4, 4)), "cpu", here),
        study_name(TASK, "a100-sim", {"device": "a100-sim", "spec": "x"}),
    }
    assert len(names) == 4
    assert study_name(TASK, "cpu", {**here, "triple": "x"}) in names


def canonical(log):
    return [fs.Trace.from_json(r.trace).canonical() for r in read(log) if "retimes" not in r.extra]


def test_runs_that_share_try_nothing_twice(url, tmp_path):
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for log in logs:  # of the same seed: alone they would try the same
        fs.tune(TASK, device="a100-sim", trials=20, seed=0, log=log, storage=url)
    one, two = map(canonical, logs)
    assert len(one) == len(two) == 20
    assert not set(one) & set(two)
    whole = merge(logs, tmp_path / "all.jsonl")
    assert (whole.ok, whole.duplicates) == (True, 0)
    assert whole.records == sum(verify(log).records for log in logs)


def test_what_does_not_fit_is_not_learned(url, tmp_path):
    """A trial of another shape, one of another device model, and a finalist: none counts."""
    other = SharedSearch(
        url, study_name(TASK, "a100-sim", fs.tune(TASK, device="a100-sim", trials=1).records[0].target)
    )
    fits = record(1, target={"device": "a100-sim", "spec": fs.devices["a100-sim"].fingerprint})
    for item in (
        replace(fits, task={**fits.task, "hash": "0"}, record_id=new_record_id()),
        replace(fits, target={"spec": "0"}, record_id=new_record_id()),
        replace(fits, extra={"retimes": "x"}, record_id=new_record_id()),
    ):
        other.tell(item)
    other.close()
    found = fs.tune(TASK, device="a100-sim", trials=3, log=tmp_path / "a.jsonl", storage=url)
    assert [r.trial for r in found.records] == [0, 1, 2]


# -- a real server ------------------------------------------------------------------------------------------------


class Server:
    """A PostgreSQL server of one's own, which can be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.as_user = []
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(folder, "nobody")
            self.as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.call("initdb", "-D", "data", "-U", "tuner", "-A", "trust", "--no-sync")
        self.start()

    @property
    def url(self):
        return f"postgresql://tuner@127.0.0.1:{self.port}/postgres"

    def call(self, *words):
        done = subprocess.run([*self.as_user, *words], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        with (self.folder / "said").open("w") as said:  # the server keeps it open
            command = [*self.as_user, "pg_ctl", "-D", "data", "-o", options, "-w", "start"]
            subprocess.run(command, cwd=self.folder, stdout=said, stderr=said, timeout=60, check=True)

    def kill(self):
        """SIGKILL to the postmaster and all that it started."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        for process in [*psutil.Process(pid).children(), psutil.Process(pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)


@pytest.fixture
def server():
    for tool in ("initdb", "pg_ctl", *(["setpriv"] if os.geteuid() == 0 else [])):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, of a PostgreSQL server (Debian: apt install postgresql)")
    pytest.importorskip("psycopg", reason="needs flashsched[fleet]")
    folder = Path(tempfile.mkdtemp(prefix="flashsched-pg-"))  # pytest's own folders are closed to other users
    made = Server(folder)
    yield made
    made.kill()
    shutil.rmtree(folder)


@pytest.fixture
def said(monkeypatch):
    """What was warned of. Warnings cannot be recorded here: the recorder is one for all threads, and some reset it."""
    told = []
    monkeypatch.setattr(shared, "_say", told.append)
    return told


def test_a_warning_is_one():
    with pytest.warns(StorageWarning, match="lost"):
        shared._say("lost")


def test_the_database_is_killed_in_the_middle_of_a_run_and_comes_back(server, tmp_path, said, monkeypatch):
    log, at, lost = tmp_path / "a.jsonl", [], []
    monkeypatch.setattr(shared, "_first_line", lambda error: lost.append(error) or "gone")
    monkeypatch.setattr(shared, "_LAST_S", None)  # it tells all that it has, however slow this machine is now

    def progress(now):
        if now.stage == "search":
            at.append(now.done)
        if now.done == 4 and len(at) == 4:
            server.kill()
        if now.done == 24 and at.count(24) == 1:
            while not lost:
                time.sleep(0.01)
            server.start()

    fs.tune(TASK, device="a100-sim", trials=40, log=log, storage=server.url, progress=progress)
    (text,) = said
    assert re.match(r"the storage postgresql://tuner@.* is lost \(gone\); the search goes on alone", text)
    mine = canonical(log)
    assert len(mine) == len(set(mine)) == 40
    assert verify(log).ok
    other = SharedSearch(server.url, study_name(TASK, "a100-sim", next(read(log)).target))
    told = other.news()
    other.close()
    assert sorted(item.trial for item in told) == list(range(40))  # nothing lost, nothing told twice
    assert {item.record_id for item in told} <= {item.record_id for item in read(log)}


def test_a_database_that_stays_lost_costs_no_trial(server, tmp_path, said, monkeypatch):
    monkeypatch.setattr(shared, "_LAST_S", 1.0)
    log = tmp_path / "a.jsonl"
    fs.tune(
        TASK, device="a100-sim", trials=20, log=log, storage=server.url,
        progress=lambda now: server.kill() if now.done == 3 and now.stage == "search" else None,
    )  # fmt: skip
    server.start()
    assert len(said) == 1 or "is lost" in said[0]  # a run may end before it misses the database
    assert re.match(r"\d+ trials were not told to postgresql://.*; the log has all", said[-1])
    assert verify(log).ok
    assert len(canonical(log)) == 20
