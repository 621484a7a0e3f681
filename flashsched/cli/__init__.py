"""The command line: one file a command; ``app.py`` lists them, and ``run.py`` is the frame that they all run in.

It stands beside ``api.py`` on the top floor: it says in words what the library says in Python, and holds no knowledge
of its own. It is the one door to click. Heavy libraries load inside the commands that use them.
"""

from __future__ import annotations

from flashsched.cli.run import main

__all__ = ["main"]
