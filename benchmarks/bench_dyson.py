"""Time of the law of a minimalRNN beside the time of a sample whose cdf has the same error.

Run: ``python benchmarks/bench_dyson.py [tied] [T ...]``; ``tied``: one draw of the weights serves all
steps, and the times of the laws are printed relative to the first.

The cdf of one sampled matrix scatters because its N sites are a random draw of the one-site law. The
scatter is measured between 12 matrices of N = 512, at nine levels; the reported error of the law is three
standard errors, so a sample needs (3 scatter/error)^2 of them. Its time is that of the 12 scaled to this
number; the bias of order 1/N that remains is granted to it. Times are processor times, all threads
together. "per step" is the time of the law divided by T: constant where the cost is linear. The columns on
m_1 and m_2 are the relative errors of the table's first two moments.
"""

from __future__ import annotations

import platform
import sys
import time

import numpy as np

import rmtrnn as rt

N, TRIALS = 512, 12


def main(steps: list[int], tied: bool) -> None:
    """Print one row per number of steps."""
    ens = rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5, tied=tied)
    rt.spectrum(ens, 1, population=512)  # imports and compiled equations are not what is measured
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {np.__version__=}"
    )
    print(
        "|   T | law [CPU s] | per step | error   | m_1 of the table | m_2      "
        "| matrices of N = 512 | their CPU s | ratio |"
    )
    print(
        "|----:|------------:|---------:|--------:|-----------------:|---------:"
        "|--------------------:|------------:|------:|"
    )
    laws = []
    for T in steps:
        cpu = time.process_time()
        spec = rt.spectrum(ens, T)
        law = time.process_time() - cpu
        laws.append(law)
        cpu = time.process_time()
        mc = rt.sample(ens, T, N=N, trials=TRIALS, seed=0)
        per_matrix = (time.process_time() - cpu) / TRIALS
        levels = spec.log_s.icdf(np.linspace(0.1, 0.9, 9))
        shares = (mc.log_s[:, :, None] <= levels).mean(axis=1)
        scatter = float(shares.std(axis=0, ddof=1).max())
        matrices = max(1.0, (3 * scatter / spec.error) ** 2)
        sample = matrices * per_matrix
        off = [spec.density_moment(k) / spec.moment(k) - 1 for k in (1, 2)]
        print(
            f"| {T:3d} | {law:11.2f} | {law / T:8.3f} | {spec.error:7.1e} | {off[0]:+16.1e} | {off[1]:+8.1e} "
            f"| {matrices:19.0f} | {sample:11.1f} | {sample / law:5.1f} |",
            flush=True,
        )
    if tied:
        print("\n" + "; ".join(f"T = {T}: {law / laws[0]:.1f}" for T, law in zip(steps, laws, strict=True)))


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "tied"]
    is_tied = len(given) < len(sys.argv) - 1
    usual = [4, 10, 25, 30, 100] if is_tied else [1, 3, 10, 30, 100, 300]
    main([int(argument) for argument in given] or usual, is_tied)
