"""Where the eigenvalues are

The curve that encloses the eigenvalues of the one-step Jacobian of a GRU with untied weights, for
three scales of the weights. An eigenvalue beyond the unit circle (dashed) belongs to a growing
direction.
"""

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt

with rt.plotting.style():
    figure, ax = plt.subplots(figsize=(4.2, 3.0))
    for sigma_w, color in zip((1.0, 2.0, 3.0), rt.plotting.PALETTE[1:], strict=False):
        curve = rt.eigenvalue_curve(rt.Ensemble("gru", sigma_w=sigma_w, sigma_v=0.5))
        ax.plot(curve.real, curve.imag, color=color, label=rf"$\sigma_w = {sigma_w:g}$")
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    ax.plot(circle.real, circle.imag, "--", color="0.4", linewidth=1)
    ax.set(xlabel="Re z", ylabel="Im z", aspect="equal", xlim=(-1.2, 2.6), title=r"GRU, $\sigma_v = 0.5$")
    ax.legend(loc="upper right")
    figure.savefig("07_eigenvalues.png", dpi=200)
