"""How often `rmtrnn.compare` accepts the right theory and rejects a scale that is off by 3 per cent, N = 512.

Run: OMP_NUM_THREADS=1 python benchmarks/compare_power.py FOLDER [comparisons] [matrices per comparison].
The matrices are kept in FOLDER, so that an interrupted run continues. Disjoint groups of the trials of one
seed are independent samples.
"""

from __future__ import annotations

import sys

import numpy as np

import rmtrnn as rt
from rmtrnn.sampling import Sample

T, N, SEED = 4, 512, 5


def main(folder: str, comparisons: int = 100, matrices: int = 16) -> None:
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    pool = rt.sample(
        ens, T=T, N=N, trials=comparisons * matrices, seed=SEED, checkpoint=folder, progress=True
    )
    groups = np.split(pool.log_s, comparisons)
    for factor in (1.0, 1.03, 0.97):
        spec = rt.spectrum(ens.replace(sigma_w=factor * ens.sigma_w), T=T)
        reports = [rt.compare(spec, Sample(group, ens, T, N, pool.provenance)) for group in groups]
        agree = sum(report.agrees for report in reports)
        print(f"sigma_w x {factor:4.2f}: {agree} of {comparisons} samples of {matrices} matrices agree")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
