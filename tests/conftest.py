"""Shared by all tests: one BLAS thread per worker, no display, and GPU tests only where there is a GPU."""

import os

# Before NumPy is loaded: parallel workers with a thread per core each would slow each other down.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402

from rmtrnn._core import arrays as _arrays  # noqa: E402
from tools import durations  # noqa: E402

SECONDS = durations.known()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--equation", help="run only the tests marked with this equation of docs/theory.md")


def _checks(item: pytest.Item, equation: str) -> bool:
    """Whether a mark ``equation`` of the test names this equation."""
    return any(equation == str(name) for mark in item.iter_markers("equation") for name in mark.args)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if SECONDS.get(item.nodeid, 0.0) >= durations.SLOW:
            item.add_marker(pytest.mark.slow)
    if equation := config.getoption("--equation"):
        others = [item for item in items if not _checks(item, equation)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _checks(item, equation)]
    marked = [item for item in items if "gpu" in item.keywords]
    if marked and not _arrays.cuda_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="CuPy sees no CUDA device"))


def pytest_report_collectionfinish(items: list[pytest.Item]) -> str:
    """How long it will take: tests that are not listed count for nothing, and are many."""
    known = sum(SECONDS.get(item.nodeid, 0.0) for item in items)
    slow = sum(item.get_closest_marker("slow") is not None for item in items)
    return (
        f"{slow} of {len(items)} tests are slow; tests of a second or more take {known / 60.0:.0f} min in all"
    )
