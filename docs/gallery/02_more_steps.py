"""More and more steps

The same network over 1 to 1,000 steps, as a function of log s. The distribution widens in
proportion to T; its computation costs the same at every T.
"""

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt

ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
with rt.plotting.style():
    figure, ax = plt.subplots()
    for T in (1, 10, 100, 1000):
        law = rt.spectrum(ens, T).log_s
        u = law.icdf(np.linspace(0.002, 0.998, 400))
        per_step = T * np.log(10)
        ax.plot(u / per_step, law.pdf(u) * per_step, label=f"T = {T}")
    ax.set(xlabel=r"$\log_{10}(s)\,/\,T$", ylabel="density", xlim=(-1.2, 0.4), title="tanh, Gaussian weights")
    ax.legend()
    figure.savefig("02_more_steps.png", dpi=200)
