"""For all tests: the package is imported before pytest imports its modules one by one for their doctests.

Else a module that the package itself imports would be loaded twice, and its classes would be two.
"""

from __future__ import annotations

import flashsched.te  # noqa: F401

collect_ignore_glob = ["tests/gallery/*"]  # programs with mistakes, which tests/test_gallery.py runs
