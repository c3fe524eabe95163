"""Shared by all tests: one BLAS thread per worker, no display, and GPU tests only where there is a GPU."""

import os

# Before NumPy is loaded: parallel workers with a thread per core each would slow each other down.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402

from rmtrnn._core import arrays as _arrays  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if "gpu" in item.keywords]
    if marked and not _arrays.cuda_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="CuPy sees no CUDA device"))
