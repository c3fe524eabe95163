"""I invented a cell. What are its phases, and what are the singular values of its Jacobian?

The cell stands in a text file, `cells/leaky_minimal.cell`: a minimalRNN that keeps one part in ten of its
state whatever its gate says. Left: the growth χ of the mean squared singular value per step over σ_w and μ_b.
Right: the predicted law of the singular values after T steps, over those of sampled networks.

    python my_own_cell.py [--quick] [--output FILE]

The same from the command line:

    rmtrnn spectrum cells/leaky_minimal.cell --sigma-w 4 --sigma-v 1 --mu-b 1 --R 0.5 --T 4 --plot law.png
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn.cli.cellfile import read_cell

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="small enough for a test")
parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
options = parser.parse_args()
T, N, trials, sites, points = (1, 64, 4, 8192, 15) if options.quick else (4, 256, 8, 65536, 60)

cell = read_cell(Path(__file__).parent / "cells" / "leaky_minimal.cell")
print(cell)
ens = rt.Ensemble(cell, sigma_w=4.0, sigma_v=1.0, mu_b=1.0, R=0.5)
phases = rt.phase_diagram(ens, sigma_w=np.linspace(0.5, 9, points), mu_b=np.linspace(-4, 6, points))
spec = rt.spectrum(ens, T, population=sites)
mc = rt.sample(ens, T, N=N, trials=trials)
report = rt.compare(spec, mc)
print(f"T = {T}: the theory {report.verdict} with the sample, Kolmogorov distance {report.kolmogorov:.4f}")

with rt.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.2))
rt.plotting.plot_phase_diagram(phases, "chi", ax=left)
left.plot(
    4.0, 1.0, marker="o", color="white", markeredgecolor="black", linestyle="", label="spectrum at right"
)
left.legend(loc="lower left", facecolor="white", framealpha=0.9, frameon=True)
left.set_title(rf"{cell.name}: $\sigma_v = 1$, $R = 0.5$")
rt.plotting.plot_comparison(spec, mc, ax=right)
right.set_title(f"T = {T}; {trials} sampled networks of N = {N}")
figure.savefig(options.output, dpi=200)
