"""Progress that costs nothing when off.

Long-running functions take ``progress=``: ``None`` (silent), ``True`` (a bar on standard error), or
a callable ``report(done, total, label)``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

Report = Callable[[int, int, str], None]


class ProgressBar:
    """A one-line bar ``label [####----] 12/40  0:03<0:07`` on a text stream (standard error).

    On a stream that is no terminal it prints one line for each finished tenth, so that logs stay short.
    """

    WIDTH = 30

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._start: float | None = None
        self._printed_tenth = -1

    def __call__(self, done: int, total: int, label: str) -> None:
        now = time.monotonic()
        if self._start is None or done == 0:
            self._start, self._printed_tenth = now, -1
        elapsed = now - self._start
        remaining = elapsed * (total - done) / done if done else float("nan")
        filled = self.WIDTH * done // max(total, 1)
        line = (
            f"{label} [{'#' * filled}{'-' * (self.WIDTH - filled)}] {done}/{total}"
            f"  {_clock(elapsed)}<{_clock(remaining)}"
        )
        if self._stream.isatty():
            self._stream.write("\r\x1b[2K" + line + ("\n" if done >= total else ""))
            self._stream.flush()
            return
        tenth = 10 * done // max(total, 1)
        if tenth > self._printed_tenth:
            self._printed_tenth = tenth
            self._stream.write(line + "\n")
            self._stream.flush()


def reporter(progress: bool | Report | None) -> Report:
    """Turn the ``progress`` argument into a callable ``report(done, total, label)``."""
    if progress is None or progress is False:
        return _silent
    if progress is True:
        return ProgressBar()
    if callable(progress):
        return progress
    raise TypeError(f"progress = {progress!r}: expected None, True, or a callable (done, total, label)")


def _silent(done: int, total: int, label: str) -> None:
    pass


def _clock(seconds: float) -> str:
    if seconds != seconds:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
