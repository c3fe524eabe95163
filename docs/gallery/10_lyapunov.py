"""Lyapunov exponents

The Lyapunov spectrum of the tanh map h' = W tanh h before and after the transition to chaos at gain 1.
Lines: the closed form for infinite width. Circles: the QR estimate for one network of 96 units. Right: the
share of positive exponents and the Kaplan–Yorke dimension of the attractor, both per unit.
"""

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt

ranks = (np.arange(96) + 0.5) / 96
share = np.linspace(0.005, 0.8, 200)
gains = 1.0 + 4.0 * np.linspace(0.05, 1.0, 40) ** 2
with rt.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.0), layout="constrained")
    for gain in (0.9, 1.5, 3.0):
        ens = rt.Ensemble("vanilla", sigma_w=gain)
        (line,) = left.plot(share, rt.lyapunov(ens).spectrum.icdf(1 - share), label=f"gain {gain}")
        found = rt.sample_lyapunov(ens, N=96, steps=200).exponents[0]
        left.plot(ranks[:77:4], found[:77:4], "o", ms=3, mfc="none", color=line.get_color())
    left.axhline(0.0, color="0.7", lw=0.8)
    left.set(xlabel="rank / N", ylabel="exponent per step")
    left.legend(loc="lower left")
    spectra = [rt.lyapunov(rt.Ensemble("vanilla", sigma_w=gain)) for gain in gains]
    right.plot(gains, [one.kaplan_yorke for one in spectra], label="Kaplan–Yorke dimension / N")
    right.plot(gains, [one.unstable_fraction for one in spectra], "--", label="share of positive exponents")
    right.set(xlabel=r"gain $\sigma_w$", ylim=(0.0, 0.38))
    right.legend(loc="upper left")
    figure.savefig("10_lyapunov.png", dpi=200)
