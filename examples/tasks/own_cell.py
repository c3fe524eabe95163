"""My own cell, with a fast and a slow state."""

import sympy

import rmtrnn as rt

h, s, x, e = sympy.symbols("h s x e")
cell = rt.Cell(
    "fast and slow", state=(h, s), input=x, gates={e: h + s}, update={h: sympy.tanh(e), s: 0.9 * s + 0.1 * h}
)
ens = rt.Ensemble(cell, sigma_w=1.1, sigma_v=0.5, sigma_b=0.1)
print(rt.mean_field(ens))
print(rt.spectrum(ens, T=2).icdf([0.05, 0.5, 0.95]))
