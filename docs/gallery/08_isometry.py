"""What orthogonal weights are for

5–95 % range of the singular values of critical tanh networks over T steps. Both networks have χ = 1,
so the mean of s² stays at 1. With Gaussian weights the singular values spread nevertheless.
"""

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt

steps = np.unique(np.geomspace(1, 1000, 25).astype(int))
with rt.plotting.style():
    figure, ax = plt.subplots()
    for weights, color in (("gaussian", rt.plotting.PALETTE[1]), ("orthogonal", rt.plotting.PALETTE[2])):
        point = rt.critical("vanilla", T=100, weights=weights, R=0.46)
        low, high = np.transpose(
            [rt.spectrum(point.ensemble, T).log_s.icdf([0.05, 0.95]) for T in steps]
        ) / np.log(10)
        ax.fill_between(steps, low, high, color=color, alpha=0.3, label=weights)
        ax.plot(steps, low, color=color)
        ax.plot(steps, high, color=color)
    ax.set(
        xlabel="steps T", ylabel=rt.plotting.LOG_S, xscale="log", ylim=(-10, 2), title="critical for T = 100"
    )
    ax.legend(loc="lower left")
    figure.savefig("08_isometry.png", dpi=200)
