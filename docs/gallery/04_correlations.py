"""Two sequences that meet

Correlation of two replicas with the same inputs. In the ordered phase it tends to 1: the network
forgets its initial state. In the chaotic phase it does not.
"""

import matplotlib.pyplot as plt

import rmtrnn as rt

with rt.plotting.style():
    figure, ax = plt.subplots()
    for mu_b in (-3.0, 0.0, 2.0, 3.5, 5.5):
        ens = rt.Ensemble("minimal", sigma_w=6.88, sigma_v=1.39, mu_b=mu_b, R=0.46, Sigma=1.0)
        ax.plot(rt.mean_field(ens, steps=100, Q0=1.0, C0=0.0).c_t, label=f"$\\mu_b = {mu_b:g}$")
    ax.set(xlabel="step t", ylabel="correlation c", title="minimalRNN")
    ax.legend()
    figure.savefig("04_correlations.png", dpi=200)
