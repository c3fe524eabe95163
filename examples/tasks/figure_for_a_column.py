"""A density for one column of a paper: 3.4 inches wide."""

import matplotlib.pyplot as plt

import rmtrnn as rt

with rt.plotting.style():
    figure, ax = plt.subplots(figsize=(3.4, 2.4), layout="constrained")
    for T in (1, 4, 16):
        rt.spectrum(rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05), T).plot(ax=ax, label=f"T = {T}")
    ax.legend()
figure.savefig("column.pdf")
