"""Over how many steps can a tanh network pass a signal, and what does its scale σ_w have to do with it?

Left: the time scale ξ over which the correlation of two input sequences reaches its fixed point, from
`rt.phase_diagram`. Its peak is the border of chaos. Right: at that border, the range of the singular values
of the T-step Jacobian from `rt.spectrum`. With orthogonal weights it stays narrow much longer than with
Gaussian ones.

    python how_long_can_it_remember.py [--quick] [--output FILE]
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

SIGMA_B = 0.05
scales = np.linspace(0.7, 1.5, 41 if options.quick else 161)
steps = 2 ** np.arange(0, 7 if options.quick else 11)

# Two sequences see the same inputs (none here: σ_v = 0) and differ in their start.
base = rt.Ensemble("vanilla", sigma_b=SIGMA_B, R=1.0, Sigma=1.0)
phases = rt.phase_diagram(base, sigma_w=scales)
at_border = float(scales[np.argmin(np.abs(phases.chi - 1.0))])
chi = np.interp(at_border, scales, phases.chi)
print(f"the border of chaos is near sigma_w = {at_border:.3f}, where chi = {chi:.4f}")

with rt.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.2))
left.semilogy(scales, phases.timescale, color=rt.plotting.PALETTE[2])
left.axvline(at_border, color="0.5", linewidth=1.0, linestyle="--", label=r"$\chi = 1$")
left.set(xlabel=r"$\sigma_w$", ylabel=r"time scale $\xi$ (steps)", title=rf"tanh, $\sigma_b = {SIGMA_B}$")
left.legend()

for weights, color in (("orthogonal", rt.plotting.PALETTE[1]), ("gaussian", rt.plotting.PALETTE[5])):
    ens = base.replace(sigma_w=at_border, weights=weights)
    laws = [rt.spectrum(ens, int(T)).log_s for T in steps]
    low, high = (np.array([law.icdf(p) for law in laws]) / np.log(10) for p in (0.05, 0.95))
    right.fill_between(steps, low, high, alpha=0.5, color=color, label=f"{weights} weights")
    print(f"{weights}: 90 % of log10 s lie in [{low[-1]:.2f}, {high[-1]:.2f}] after {steps[-1]} steps")
right.set(xscale="log", ylim=(-8, 1.2), xlabel="number of steps T", ylabel=r"$\log_{10} s$, 5 to 95 %")
right.set_title(rf"singular values of $J_T$ at $\sigma_w = {at_border:.3f}$")
right.legend(loc="lower left")
figure.savefig(options.output, dpi=200)
