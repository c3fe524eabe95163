"""Array work spread over the cores of one process; NumPy lets other threads run while it computes."""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def threads() -> int:
    """How many threads array work may use: OMP_NUM_THREADS if that is set, else the cores of this process."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.lru_cache(maxsize=2)
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """One pool a process: the threads of a parent do not exist in a forked child."""
    return ThreadPoolExecutor(workers, thread_name_prefix=f"rmtrnn-{process}")


def thread_map(function: Callable[[Item], Value], items: Iterable[Item]) -> list[Value]:
    """``[function(item) for item in items]`` on `threads` threads, in order, each with the caller's context.

    The context matters: ``numpy.errstate`` is part of it. ``function`` must not call `thread_map` itself.
    After an error or an interrupt no further item is begun.
    """
    items = list(items)
    workers = threads()
    if workers < 2 or len(items) < 2:
        return [function(item) for item in items]
    pool = _pool(workers, os.getpid())
    futures = [pool.submit(contextvars.copy_context().run, function, item) for item in items]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
