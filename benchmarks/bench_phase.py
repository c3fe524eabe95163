"""CPU time of phase diagrams: untied ones of 200 x 200 points, and a tied minimalRNN of 50 x 50.

Run: OMP_NUM_THREADS=1 python benchmarks/bench_phase.py [FOLDER]. The tied one takes minutes; with a FOLDER as
checkpoint it goes on where it was stopped, and then its time is that of the rest. The CPU seconds divided by
two are what two idle cores need when the chunks are shared between two threads or processes
(``executor=ThreadPoolExecutor(2)``), less what threads wait for each other; the wall time is that of the run,
and means something only on an idle machine.
"""

from __future__ import annotations

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np

import rmtrnn as rt

POINTS = 200
DIAGRAMS = {
    "vanilla (sigma_w, sigma_b)": (
        rt.Ensemble("vanilla", Sigma=1.0),
        {"sigma_w": np.linspace(0.5, 3.0, POINTS), "sigma_b": np.linspace(0.0, 1.0, POINTS)},
    ),
    "vanilla (sigma_w, sigma_v)": (
        rt.Ensemble("vanilla", R=0.46, Sigma=1.0),
        {"sigma_w": np.linspace(0.5, 3.0, POINTS), "sigma_v": np.linspace(0.0, 1.5, POINTS)},
    ),
    "minimalRNN (sigma_w, mu_b)": (
        rt.Ensemble("minimal", sigma_v=1.39, R=0.46, Sigma=1.0),
        {"sigma_w": np.linspace(1.0, 9.0, POINTS), "mu_b": np.linspace(-4.0, 8.0, POINTS)},
    ),
}
TIED = rt.Ensemble("minimal", sigma_v=1.39, R=0.46, tied=True)
TIED_AXES = {"sigma_w": np.linspace(0.5, 10.0, 50), "mu_b": np.linspace(-4.0, 8.0, 50)}


def main() -> None:
    print("| diagram | points | CPU s | CPU s / 2 | wall s | converged |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (ens, axes) in DIAGRAMS.items():
        small = {key: values[::50] for key, values in axes.items()}
        rt.phase_diagram(ens, **small)  # expressions are compiled and cached
        cpu, wall = time.process_time(), time.perf_counter()
        with ThreadPoolExecutor(2) as executor:
            phases = rt.phase_diagram(ens, executor=executor, **axes)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        share = f"{100 * phases.converged.mean():.2f} %"
        print(
            f"| {name} | {phases.chi.size} | {cpu:.2f} | {cpu / 2:.2f} | {wall:.2f} | {share} |", flush=True
        )
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    cpu, wall = _children(), time.perf_counter()
    with ProcessPoolExecutor(2) as executor:
        phases = rt.phase_diagram(TIED, executor=executor, checkpoint=folder, progress=True, **TIED_AXES)
    cpu, wall = _children() - cpu, time.perf_counter() - wall
    share = f"{100 * phases.converged.mean():.2f} %"
    print(f"| tied minimalRNN | {phases.chi.size} | {cpu:.0f} | {cpu / 2:.0f} | {wall:.0f} | {share} |")


def _children() -> float:
    """CPU seconds of the worker processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
