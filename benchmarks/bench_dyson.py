"""Time of the law of a minimalRNN beside the time of a sample with the same error of the cdf.

Run: ``python benchmarks/bench_dyson.py [T ...]``. A sample of N singular values per matrix errs by about 1/N
(rigidity), so the fair sample has N = 1/error; its time is extrapolated from N = 512 with the cube of N.
"""

from __future__ import annotations

import sys
import time

import rmtrnn as rt


def main(steps: list[int]) -> None:
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5)
    rt.mean_field(ens)
    print("   T   law [s]   error   sample of equal error [s]   ratio")
    for T in steps:
        begin = time.perf_counter()
        spec = rt.spectrum(ens, T=T)
        law = time.perf_counter() - begin
        begin = time.perf_counter()
        rt.sample(ens, T=T, N=512, trials=1, seed=0)
        size = 1.0 / max(spec.error, 1e-6)
        sample = (time.perf_counter() - begin) * (size / 512) ** 3
        print(f"{T:4d} {law:9.2f} {spec.error:7.1e} {sample:27.1f} {sample / law:7.1f}")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1, 3, 10, 30])
