"""How should I choose σ_w of a GRU so that gradients neither grow nor decay over 50 steps?

`rt.critical` solves χ = 1 for σ_w. The figure holds the answer against sampled networks: the mean of s² of
the T-step Jacobian of networks of N units, at the critical σ_w and beside it, over the prediction χ^T. That
the mean stays at 1 does not make every direction keep its length: the thin lines are its 5 % and 95 %
quantiles.

    python initialise_a_gru.py [--quick] [--output FILE]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="small enough for a test")
parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
options = parser.parse_args()
N, trials, steps = (32, 2, (1, 4)) if options.quick else (64, 8, (1, 5, 10, 20, 35, 50))

point = rt.critical("gru", T=50, weights="orthogonal", sigma_v=0.5, R=1.0, free={"sigma_w": (0.5, 6.0)})
critical = point.ensemble
print(f"sigma_w = {critical.sigma_w:.6f}: chi = {point.chi:.12f}, found by {point.method}")
print(f"two input sequences that differ are told apart for about {point.timescale:.2f} steps")

with rt.plotting.style():
    figure, ax = plt.subplots(figsize=(5.0, 3.6))
for factor, color in (
    (0.8, rt.plotting.PALETTE[2]),
    (1.0, rt.plotting.PALETTE[1]),
    (1.2, rt.plotting.PALETTE[3]),
):
    ens = critical.replace(sigma_w=factor * critical.sigma_w)
    chi = rt.mean_field(ens).chi
    samples = [rt.sample(ens, T, N=N, trials=trials, burn_in=50) for T in steps]
    means = np.array([mc.moment(1) for mc in samples])
    label = rf"$\sigma_w = {ens.sigma_w:.2f}$, $\chi = {chi:.3f}$"
    ax.errorbar(steps, means[:, 0], means[:, 1], fmt="o", markersize=4, color=color, label=label)
    ax.plot(steps, chi ** np.array(steps), color=color)
    if factor == 1.0:
        for p in (0.05, 0.95):
            ax.plot(steps, [mc.quantile(p).value ** 2 for mc in samples], color=color, linewidth=0.8)
    mean, error = means[-1]
    growth = chi ** steps[-1]
    print(f"{factor:g} times that, T = {steps[-1]}: chi^T = {growth:.4g}, sampled {mean:.4g} ± {error:.2g}")
ax.plot([], [], color="0.3", label=r"theory $\chi^T$; dots: sampled mean of $s^2$")
ax.set(xlabel="number of steps T", ylabel=r"$s^2$", yscale="log", ylim=(1e-5, 1e3))
ax.set_title(rf"GRU, orthogonal, $\sigma_v = 0.5$, $R = 1$; {trials} × $N = {N}$")
ax.legend(loc="lower left")
figure.savefig(options.output, dpi=200)
