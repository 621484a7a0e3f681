"""The frame around every command: exit codes, signals, warnings, and sentences instead of tracebacks.

click is imported only once the signals are caught, so that an early Ctrl-C gets a sentence too.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import gc
import os
import select
import signal
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from flashsched.errors import DeviceError, FlashschedError

if TYPE_CHECKING:
    import click

__all__ = [
    "DONE",
    "FAILED",
    "NOTHING_FOUND",
    "USAGE",
    "CommandError",
    "Stopped",
    "error_text",
    "main",
    "say",
    "tell",
    "usage",
]

DONE, FAILED, USAGE, NOTHING_FOUND = 0, 1, 2, 3
"""Exit codes; a signal's is 128 more than its number (130 for Ctrl-C, 143 for SIGTERM)."""


class CommandError(Exception):
    """A command ends: *text* goes to standard error, *code* is the exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


_MOST_DAMAGED = 5  # lines of logs that are told one by one


class Stopped(BaseException):
    """SIGINT or SIGTERM came. *text* says what a command left behind and how to go on."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(number, text)
        self.number = number
        self.text = text


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """What is refused in here was asked for wrongly: exit code 2."""
    try:
        yield
    except FlashschedError as error:
        raise CommandError(error_text(error), USAGE) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (``sys.argv`` by default) and return the exit code; see `DONE`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    atexit.register(gc.freeze)  # or Python looks through all that a search has made for garbage, and then is gone
    _fill_closed_streams()
    _make_every_text_printable()
    debug = "--debug" in given
    with _signals(), warnings.catch_warnings():
        from flashsched.tune.logs.log import LogWarning

        warnings.simplefilter("always", LogWarning)
        warnings.showwarning = _Shown().show
        try:
            code = _command(given)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except BaseException as problem:
            code, text = _verdict(problem)
            if debug and isinstance(problem, Exception) and code != USAGE:
                traceback.print_exc()
            if text:
                say(text)
            _forget_unwritten()
            return code


def _command(arguments: list[str]) -> int:
    """What click's own ``main`` does, but for its way with errors and pipes."""
    import click
    from click.shell_completion import shell_complete

    from flashsched.cli.app import app

    if asked := os.environ.get("_FLASHSCHED_COMPLETE"):
        return shell_complete(app, {}, "flashsched", "_FLASHSCHED_COMPLETE", asked)
    try:
        with app.make_context("flashsched", list(arguments), obj=arguments) as context:
            code = app.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        path = _command_path(app, arguments) if error.ctx is None else error.ctx.command_path
        raise CommandError(f"error: {error.format_message()}\n  see: {path} --help", USAGE) from None
    except click.ClickException as error:
        raise CommandError(f"error: {error.format_message()}", error.exit_code) from None
    return code if isinstance(code, int) else DONE


def _command_path(command: click.Command, arguments: list[str]) -> str:
    """The command that *arguments* name, for an error that does not say where it arose."""
    path = ["flashsched"]
    for word in arguments:
        if (inner := getattr(command, "commands", {}).get(word)) is not None:
            path.append(word)
            command = inner
    return " ".join(path)


def _verdict(problem: BaseException) -> tuple[int, str]:
    """Exit code and text for whatever ended a command."""
    if isinstance(problem, CommandError):
        return problem.code, problem.text
    if isinstance(problem, FlashschedError):  # asking a device for what it is not is wrong usage, wherever it shows
        return USAGE if isinstance(problem, DeviceError) else FAILED, error_text(problem)
    if isinstance(problem, Stopped):
        return 128 + problem.number, problem.text or f"stopped by {signal.Signals(problem.number).name}"
    if isinstance(problem, KeyboardInterrupt):
        return 128 + signal.SIGINT, "stopped by SIGINT"
    if isinstance(problem, SystemExit):
        return problem.code if isinstance(problem.code, int) else FAILED, ""
    users = _in_users_file(problem)
    if users:
        return FAILED, f"error: {users}"
    if isinstance(problem, BrokenPipeError) and _reader_has_left():
        return DONE, ""
    if isinstance(problem, OSError):
        where = f" {problem.filename}" if problem.filename else ""
        return FAILED, f"error: cannot read or write{where}: {problem.strerror or problem}"
    if isinstance(problem, MemoryError):
        return FAILED, "error: out of memory"
    frames = traceback.extract_tb(problem.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return FAILED, f"internal error: {_named(problem)}{place}\n  run it again with --debug for the whole story"


def _in_users_file(problem: BaseException) -> str:
    """File, line, error and the line's text, if a file of the user's raised it or cannot be read as Python."""
    if isinstance(problem, SyntaxError) and problem.filename and _is_users(problem.filename):
        shown = f"\n  | {problem.text.strip()}" if problem.text else ""
        return f"{_near(problem.filename)}:{problem.lineno}: {type(problem).__name__}: {problem.msg}{shown}"
    theirs = [frame for frame in traceback.extract_tb(problem.__traceback__) if _is_users(frame.filename)]
    if not theirs:
        return ""
    return f"{_near(theirs[-1].filename)}:{theirs[-1].lineno}: {_named(problem)}\n  | {theirs[-1].line}"


def _named(problem: BaseException) -> str:
    """Class and first line of an error."""
    return f"{type(problem).__name__}: {problem}".splitlines()[0].rstrip(": ")


def error_text(error: FlashschedError) -> str:
    """An error for the terminal; ``at file:line`` only where that is a line of the user's, not one of click's."""
    where = error.where if error.where and _is_users(error.where.rpartition(":")[0]) else ""
    shown = type(error)(error.reason, step=error.step, shown=error.shown, where=where, hint=error.hint)
    return f"error: {FlashschedError.__str__(shown)}"


def _is_users(file: str) -> bool:
    """Whether *file* is neither Python's, nor an installed package's, nor ours."""
    paths = sysconfig.get_paths()
    foreign = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    foreign.append(str(Path(__file__).parents[1]))
    full = os.path.abspath(file)
    return (
        os.path.isfile(full)
        and full != os.path.abspath(sys.argv[0])
        and not any(full.startswith(os.path.abspath(folder) + os.sep) for folder in foreign)
    )


def _near(file: str) -> str:
    """*file* as seen from the working directory, if it lies below."""
    with contextlib.suppress(ValueError):
        return str(Path(file).resolve().relative_to(Path.cwd()))
    return file


# -- the process -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Stopped`; a second one ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    before: dict[int, Any] = {}
    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(each) is not signal.SIG_IGN:  # nohup and `&` in a script mean it
                before[each] = signal.signal(each, stop)
    except ValueError:  # not the main thread, which signals never reach
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fill_closed_streams() -> None:
    """Started with ``>&-``, a process has no standard output, and the next file it opens would take its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


_PLAIN = {"×": "x", "–": "-", "µ": "u", "…": "...", "≥": ">=", "≤": "<=", "’": "'", "→": "->"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in part), error.end


def _make_every_text_printable() -> None:
    """Where the terminal's encoding lacks a character, the nearest plain one is printed."""
    codecs.register_error("flashsched", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="flashsched")


def _reader_has_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as in ``flashsched report LOG | head``."""
    try:
        events = select.poll()
        events.register(sys.stdout, 0)
        return any(event & select.POLLERR for _, event in events.poll(0))
    except (OSError, ValueError, AttributeError):  # no descriptor, or Windows
        return False


def _forget_unwritten() -> None:
    """Send what a closed or full standard output did not take nowhere, so that Python's exit does not fail on it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


# -- words -----------------------------------------------------------------------------------------------------------


def tell(text: str, end: str = "\n") -> None:
    """A result on standard output.

    Raises:
        CommandError: standard output is a full disk, say.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        if sys.stdout is not None:
            print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"error: cannot write to standard output: {error.strerror}") from None


def say(text: str) -> None:
    """A line on standard error, whatever became of it."""
    from flashsched.cli.progress import clear_line

    clear_line()
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)


class _Shown:
    """Warnings of one command: each is a line, and of a file that is damaged all over the first few are."""

    def __init__(self) -> None:
        self.damaged = 0

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """What stands in for ``warnings.showwarning``."""
        del file, line
        of_a_log = category.__name__ == "LogWarning"  # the name: a command without logs need not load them
        self.damaged += of_a_log
        if of_a_log and self.damaged > _MOST_DAMAGED:
            if self.damaged == _MOST_DAMAGED + 1:
                say("warning: more lines are damaged; `flashsched log verify FILE` names them all")
            return
        place = f" ({Path(filename).name}:{lineno})" if _is_users(filename) else ""
        say(f"warning: {message}{place}")
