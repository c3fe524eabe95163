"""Cost of 200 densities of MarchenkoPastur()**T after warm-up, beside 200 calls of numpy.roots at degree 16.

Run: OMP_NUM_THREADS=1 python benchmarks/bench_free.py. Times are medians of repeated runs in this
process, so the ratio is what to compare between machines.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np

from rmtrnn import free

POINTS = 200
REPEATS = 15


def median_seconds(run: Callable[[], object]) -> float:
    """Median wall time of ``run`` after one call that warms it up."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    coefficients = np.random.default_rng(0).standard_normal((POINTS, 17))
    roots = median_seconds(lambda: [np.roots(row) for row in coefficients])
    print(f"{POINTS} x numpy.roots, degree 16: {1e3 * roots:8.3f} ms")
    print(f"{'T':>7} {'first call':>12} {'per 200':>12} {'ratio to roots':>15}")
    for T in (1, 2, 8, 64, 1024, 100_000):
        start = time.perf_counter()
        law = free.MarchenkoPastur() ** T
        right = law.log.support[-1][1] + math.log(0.999)
        v = np.linspace(law.log.icdf(0.1), right, POINTS)
        law.log.pdf(v)
        first = time.perf_counter() - start
        warm = median_seconds(lambda law=law, v=v: law.log.pdf(v))
        print(f"{T:>7} {1e3 * first:>9.3f} ms {1e3 * warm:>9.3f} ms {warm / roots:>15.4f}")


if __name__ == "__main__":
    main()
