"""Five initialisations

Root mean square sensitivity of a GRU (tied weights, T = 100) to its inputs, k steps back, under five
initialisations; sampled networks of 64 units. The plan of `rt.initialize` (thick) answers at once by its fast
units, remembers by its slow ones, and has the largest minimum of those whose gradients do not grow.
"""

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn.initialisation.sensitivity import Settings

T = 100
usual = {"sigma_w": 1 / np.sqrt(3), "sigma_v": 1 / np.sqrt(3), "sigma_b": 1 / np.sqrt(3 * 64)}
orthogonal = {"sigma_w": 1.0, "sigma_v": 1.0, "weights": "orthogonal"}
ensembles = {
    "framework default": rt.Ensemble("gru", **usual, tied=True),
    "orthogonal, bias 1": rt.Ensemble("gru", **orthogonal, mu_b={"u": 1.0}, tied=True),
    r"$\chi = 1$ (untied theory)": rt.Ensemble(
        "gru", sigma_w=3.5, sigma_v=0.5, mu_b={"u": 1.0}, weights="orthogonal", tied=True
    ),
    r"chrono, bias $\log T$": rt.Ensemble("gru", **orthogonal, mu_b={"u": np.log(T)}, tied=True),
}

with rt.plotting.style():
    ax = plt.figure(figsize=(5.6, 3.6)).subplots()
quick = Settings(longest=1, N=64, trials=2, quantile_N=16, quantile_trials=1)
for name, ens in ensembles.items():
    profile = rt.sensitivity(ens, T, settings=quick)
    rt.plotting.plot_sensitivity(profile, ax, band=False, label=name)
plan = rt.initialize("gru", T)
rt.plotting.plot_sensitivity(plan.profile, ax, band=False, label="rt.initialize", lw=3.0)
ax.set(title=f"GRU, tied weights, T = {T}", ylim=(1e-5, 1.0))
plt.savefig("11_initialisations.png", dpi=150)
