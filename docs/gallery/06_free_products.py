"""An algebra of laws

`@` is the free product and `**` the free power, also a fractional one. The curves are powers of the
Marchenko–Pastur law, each followed by the removal of a quarter of the directions.
"""

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn import free

mask = free.Discrete([0.0, 1.0], [0.25, 0.75])
with rt.plotting.style():
    figure, ax = plt.subplots()
    for t in (1, 1.5, 3, 6):
        law = (free.MarchenkoPastur() ** t @ mask).log
        v = np.linspace(-8, law.support[-1][1], 400)
        ax.plot(v / np.log(10), law.pdf(v) * np.log(10), label=f"t = {t:g}")
    ax.set(xlabel=r"$\log_{10}\,x$", ylabel="density", title="MarchenkoPastur() ** t @ mask")
    ax.legend()
    figure.savefig("06_free_products.png", dpi=200)
