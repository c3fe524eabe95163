"""A sweep over σ_w on all cores."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import rmtrnn as rt

if __name__ == "__main__":
    ensembles = [rt.Ensemble("vanilla", sigma_w=0.1 * k, sigma_b=0.1) for k in range(8, 17)]
    with ProcessPoolExecutor() as pool:
        for spec in pool.map(partial(rt.spectrum, T=50), ensembles):
            print(f"{spec.ensemble.sigma_w:.2f}  median of log s: {spec.log_s.icdf(0.5):.4f}")
