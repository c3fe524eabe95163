"""Cost of long products: products with factorisation, beside bare matrix products and one SVD.

Run: OMP_NUM_THREADS=1 python benchmarks/bench_sampling.py [N ...]   (default 256 512 1024; T = 16)

Each line is one process on one set of Gaussian matrices: "bare" multiplies the factors with ``@`` and calls
one ``svd`` (all values below ε·s_max are noise); "LogProduct" gives all values to high relative accuracy. The
ratio is the one to compare between machines. Medians of three runs, interleaved.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np

from rmtrnn import _array, _random
from rmtrnn.montecarlo import LogProduct, random_matrix

T, REPEATS = 16, 3


def bare(factors: list[Any], xp: Any) -> None:
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    _array.to_host(xp.linalg.svd(product, compute_uv=False))


def accurate(factors: list[Any], xp: Any) -> None:
    product = LogProduct(len(factors[0]), xp)
    for factor in factors:
        product.multiply(factor)
    product.log_singular_values()


def table(device: str, sizes: list[int]) -> None:
    xp = _array.module_for(device)
    print(f"{device}: T = {T}")
    print(f"{'N':>7} {'bare':>10} {'LogProduct':>11} {'ratio':>7}")
    for n in sizes:
        rng = _random.stream(1)
        factors = [random_matrix("gaussian", n, 1.0, rng, xp) for _ in range(T)]
        times: dict[str, list[float]] = {"bare": [], "accurate": []}
        for _ in range(REPEATS):
            for name, run in (("bare", bare), ("accurate", accurate)):
                start = time.perf_counter()
                run(factors, xp)
                times[name].append(time.perf_counter() - start)
        first, second = (statistics.median(values) for values in times.values())
        print(f"{n:>7} {first:>8.2f} s {second:>9.2f} s {second / first:>7.2f}", flush=True)


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or [256, 512, 1024]
    print(f"numpy {np.__version__}")
    table("cpu", sizes)
    if _array.cuda_available():
        table("cuda", [*sizes, 4096, 8192])
    else:
        print("cuda: no device")


if __name__ == "__main__":
    main()
