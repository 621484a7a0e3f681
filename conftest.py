"""For all tests: the package is imported before pytest imports its modules one by one for their doctests.

Else a module that the package itself imports would be loaded twice, and its classes would be two. Libraries compute
in one thread, and so do the processes that a test starts: tests share the cores already, and threads that wait for
each other there take most of the time of a small fit. Kernels of ours have threads of their own. No example of
hypothesis has a deadline, for the same reason: how long it takes is up to what else runs. Those processes find the
package compiled, whatever the environment says: compiling it takes longer than most of what they do.
"""

from __future__ import annotations

import os
import signal
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is imported
    os.environ.setdefault(_name, "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from hypothesis import settings  # noqa: E402

import flashsched.te  # noqa: E402, F401

settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else no child of a test would hear Ctrl-C

collect_ignore_glob = ["tests/gallery/*"]  # programs with mistakes, which tests/test_gallery.py runs
