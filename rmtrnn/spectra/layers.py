"""Singular values of the Jacobian from one layer of a stack to another, over T steps.

Letters: T, the number of steps.
"""

from __future__ import annotations

from typing import Any

from rmtrnn._core import validate as _validate
from rmtrnn.dyson.law import untied_law
from rmtrnn.dyson.tied.law import tied_law
from rmtrnn.spectra.result import Spectrum
from rmtrnn.stack import Stack


def layer_spectrum(
    stack: Stack, T: int, first: int = 1, last: int | None = None, **accuracy: Any
) -> Spectrum:
    """Limit law (N → ∞) of the singular values of ∂h_last^T/∂h_first^0, depth and time; theory.md (12)–(15).

    An N × N block of the Jacobian of the whole stack, whose law is `rmtrnn.spectrum` (stack, T).

    Parameters
    ----------
    stack : `Stack`, tied or not
    T : int ≥ 1, number of steps; T = 1 is the Jacobian of depth alone
    first, last : layers, counted from 1 at the bottom
        ``last`` ≥ ``first``; None: the top. Their states "h", see `Stack`.

    The other keywords are those of `rmtrnn.dyson.law.untied_law`, or of `rmtrnn.dyson.tied.law.tied_law`. The
    moments of the `Spectrum` are those of its table. Raises TypeError or ValueError for bad arguments.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.5, sigma_v=1.0)
    >>> depth = rt.spectra.layer_spectrum(rt.Stack([linear, linear]), T=1)       # 0.5² times Fuss–Catalan
    >>> round(depth.support[0][1] ** 2, 2)
    1.69
    """
    _validate.instance("stack", stack, Stack)
    T = _validate.integer("T", T, low=1)
    layers = len(stack.layers)
    first = _validate.integer("first", first, low=1, high=layers)
    last = _validate.integer("last", layers if last is None else last, low=first, high=layers)
    solve = tied_law if stack.tied else untied_law
    law = solve(stack, T, block=(stack.output(last), stack.output(first)), **accuracy)
    return Spectrum(law, ensemble=stack, T=T, method=f"dyson, layer {first} to {last}")
