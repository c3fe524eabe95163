"""Order and chaos of the minimalRNN

Number of steps after which the difference between two inputs is forgotten, as a function of the
scale of the recurrent weights and the bias of the gate. On the critical line (χ = 1) it is infinite.
"""

import numpy as np

import rmtrnn as rt

ens = rt.Ensemble("minimal", sigma_v=1.39, R=0.46, Sigma=1.0)
with rt.plotting.style():
    phases = rt.phase_diagram(ens, sigma_w=np.linspace(1, 9, 150), mu_b=np.linspace(-4, 8, 150))
    ax = rt.plotting.plot_phase_diagram(phases, "timescale")
    ax.set_title("minimalRNN")
    ax.figure.savefig("03_phases.png", dpi=200)
