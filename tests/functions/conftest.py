"""What the tests of functions on arrays share."""

from __future__ import annotations

import pytest

import flashsched as fs


@pytest.fixture(autouse=True)
def no_logs(tmp_path, monkeypatch):
    """A folder with no logs in it, and kernels of no other test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASHSCHED_LOGS", "")
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *args, **kwargs: str(tmp_path / "data"))
    fs.functions.clear_kernels()
    yield tmp_path
    fs.functions.clear_kernels()
