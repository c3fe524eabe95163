"""Theory and sample

Singular values of the 8-step Jacobian of a tanh network with orthogonal weights: predicted density
(line) and eight sampled networks of 256 units (histogram).
"""

import rmtrnn as rt

with rt.plotting.style():
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, weights="orthogonal")
    ax = rt.plotting.plot_comparison(rt.spectrum(ens, T=8), rt.sample(ens, T=8, N=256, trials=8))
    ax.set_title("tanh, orthogonal, T = 8; 8 networks of N = 256")
    ax.figure.savefig("01_theory_and_sample.png", dpi=200)
