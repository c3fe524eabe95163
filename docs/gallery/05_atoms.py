"""A distribution with atoms

A hard-tanh network with orthogonal weights. Saturated units make singular values that are exactly 0.
While few units are saturated, other singular values are exactly σ_w^T. Stems show atoms; the legend
gives their masses.
"""

import rmtrnn as rt

ens = rt.Ensemble(rt.VanillaRNN("hard_tanh"), sigma_w=0.98, sigma_b=0.15, weights="orthogonal")
with rt.plotting.style():
    ax = rt.plotting.plot_comparison(rt.spectrum(ens, T=4), rt.sample(ens, T=4, N=256, trials=4))
    ax.set_ylim(0.0, 0.27)
    ax.legend(loc="upper center")
    ax.set_title("hard_tanh, orthogonal, T = 4")
    ax.figure.savefig("05_atoms.png", dpi=200)
