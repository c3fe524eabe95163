"""A phase diagram of the GRU, with a figure."""

import numpy as np

import rmtrnn as rt

ens = rt.Ensemble("gru", sigma_v=0.3, R=1.0)
phases = rt.phase_diagram(ens, sigma_w=np.linspace(0.5, 4, 12), mu_b=np.linspace(-2, 4, 12), progress=True)
ax = rt.plotting.plot_phase_diagram(phases, "chi")
ax.figure.savefig("gru_phases.png", dpi=200)
