"""For all tests: the package is imported before pytest imports its modules one by one for their doctests.

Else a module that the package itself imports would be loaded twice, and its classes would be two.
"""

from __future__ import annotations

import signal

import flashsched.te  # noqa: F401

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else no child of a test would hear Ctrl-C

collect_ignore_glob = ["tests/gallery/*"]  # programs with mistakes, which tests/test_gallery.py runs
