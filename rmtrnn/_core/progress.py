"""Progress by tqdm, at no cost when off.

Long-running functions take ``progress=``: ``None`` (silent), ``True`` (a bar: on standard error, in notebooks
in place), or a callable ``report(done, total, label)``; ``total`` 0 stands for an unknown number.

A front door opens `shown`; whatever runs inside it, on any of its threads, calls `advance` without being
handed the bar.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

Report = Callable[[int, int, str], None]
ANNOUNCED = 2.0  # seconds from which on work is long: a person then wants to know
LOG_INTERVAL = 10.0  # seconds between lines where standard error is a file: logs stay short


class ProgressBar:
    """A tqdm bar driven by ``report(done, total, label)``; it closes itself when all is done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._bar: Any = None
        self._label = ""

    def __call__(self, done: int, total: int, label: str) -> None:
        if self._bar is None or self._label != label or done < self._bar.n:
            self.close()
            self._bar, self._label = self._new(total, label), label
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)
        if done >= total > 0:
            self.close()

    def close(self) -> None:
        """End the line of an unfinished bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _new(self, total: int, label: str) -> Any:
        bar: Any
        if self._stream is None and "ipykernel" in sys.modules:
            from tqdm.auto import tqdm as bar
        else:
            from tqdm import tqdm as bar
        stream = sys.stderr if self._stream is None else self._stream
        interval = 0.1 if stream.isatty() or "ipykernel" in sys.modules else LOG_INTERVAL
        return bar(desc=label, total=total or None, file=stream, mininterval=interval, dynamic_ncols=True)


def reporter(progress: bool | Report | None) -> Report:
    """Turn the ``progress`` argument into a callable ``report(done, total, label)``."""
    if progress is None or progress is False:
        return _silent
    if progress is True:
        return ProgressBar()
    if callable(progress):
        return progress
    raise TypeError(f"progress = {progress!r}: expected None, True, or a callable (done, total, label)")


@contextmanager
def ending(report: Report) -> Iterator[None]:
    """A bar of ours ends its line, also after an error or an interrupt."""
    try:
        yield
    finally:
        if isinstance(report, ProgressBar):
            report.close()


class _Count:
    """How much of one kind of work was done; see `advance`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done: dict[str, int] = {}

    def advance(self, label: str, amount: int, total: int) -> None:
        before = self._done.get(label, 0)
        if total and before >= total:  # the same work once more
            before = 0
        done = self._done[label] = before + amount
        self._report(done, total, label)

    def announce(self, text: str) -> None:
        self._report(0, 0, text)


_CURRENT: ContextVar[_Count | None] = ContextVar("rmtrnn_progress", default=None)


@contextmanager
def shown(progress: bool | Report | None) -> Iterator[None]:
    """In this context `advance` goes to ``progress``; where that is None, to the surrounding context's."""
    report = reporter(progress)
    if report is _silent:
        yield
        return
    token = _CURRENT.set(_Count(report))
    try:
        with ending(report):
            yield
    finally:
        _CURRENT.reset(token)


def is_shown() -> bool:
    """Whether somebody looks at what `advance` counts, so that an estimate of the time is worth its cost."""
    return _CURRENT.get() is not None


def announce(label: str, seconds: float) -> None:
    """Say how long the work that follows takes, from `ANNOUNCED` seconds on: a label without a count."""
    count = _CURRENT.get()
    if count is not None and seconds >= ANNOUNCED:
        count.announce(f"{label}, about {in_words(seconds)}")


def in_words(seconds: float) -> str:
    """A time to one digit: "20 s", "3 min", "2 h", "5 days".

    >>> from rmtrnn._core.progress import in_words
    >>> in_words(17.0), in_words(3000.0), in_words(1e4), in_words(1e7)
    ('20 s', '50 min', '3 h', '100 days')
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{float(f'{seconds / size:.1g}'):g} {unit}"
    return f"{float(f'{seconds:.1g}'):g} s"


def advance(label: str, amount: int = 1, total: int = 0) -> None:
    """Count ``amount`` more of the work called ``label``, of ``total`` in all (0: unknown)."""
    count = _CURRENT.get()
    if count is not None:
        count.advance(label, amount, total)


def _silent(done: int, total: int, label: str) -> None:
    pass
