"""Cells as a user writes them, independent of the library's."""

import sympy

import rmtrnn as rt


def leaky(delta=0.25):
    """h' = (1 − δ) h + δ tanh(e), e = W h + V x + b."""
    h, x, e = sympy.symbols("h x e", real=True)
    update = (1 - delta) * h + delta * sympy.tanh(e)
    return rt.Cell("leaky", state=h, input=x, gates={e: h}, update={h: update})
