"""How often `rmtrnn.compare` accepts the right theory and rejects a scale that is off by 3 per cent, N = 512.

Run: python benchmarks/compare_power.py FOLDER [comparisons] [matrices] [sigma_w] [sigma_b].
Near criticality (sigma_w = 1.05, sigma_b = 0.05) a change of sigma_w is nearly compensated by q*, and each
comparison needs 16 matrices instead of 8. The matrices are kept in FOLDER, so that an interrupted run
continues. Disjoint groups of the trials of one seed are independent samples.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

import rmtrnn as rt
from rmtrnn.sampling.sample import Sample

T, N, SEED = 4, 512, 6  # the test was designed on seed 5


def main(
    folder: str, comparisons: int = 100, matrices: int = 8, sigma_w: float = 1.0, sigma_b: float = 0.3
) -> None:
    ens = rt.Ensemble("vanilla", sigma_w=sigma_w, sigma_b=sigma_b)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        pool = rt.sample(
            ens,
            T=T,
            N=N,
            trials=comparisons * matrices,
            seed=SEED,
            checkpoint=folder,
            executor=workers,
            progress=True,
        )
    groups = np.split(pool.log_s, comparisons)
    for factor in (1.0, 1.03, 0.97):
        spec = rt.spectrum(ens.replace(sigma_w=factor * ens.sigma_w), T=T)
        samples = [Sample(group, ens, T, N, pool.provenance) for group in groups]
        reports = [rt.compare(spec, sample, same_network=False) for sample in samples]
        agree = sum(report.agrees for report in reports)
        print(f"sigma_w x {factor:4.2f}: {agree} of {comparisons} samples of {matrices} matrices agree")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), *map(float, sys.argv[4:]))
