"""The gated networks of the study."""

from __future__ import annotations

from functools import cache
from typing import Any

import sympy

import rmtrnn as rt

SYMBOLS = {"sigma_w": "σ_w", "sigma_v": "σ_v", "mu_b": "μ_b", "sigma_b": "σ_b"}


def leaky(delta: sympy.Expr) -> rt.Cell:
    """A leaky network written as a user's cell: h' = (1 - δ) h + δ tanh(e)."""
    h, x, e = sympy.symbols("h x e")
    update = (1 - delta) * h + delta * sympy.tanh(e)
    return rt.Cell("leaky", state=h, input=x, gates=[rt.Gate("e", e, h)], update=[update])


def min_gru() -> rt.Cell:
    """minGRU (Feng et al. 2024): h' = (1 - z) h + z v, z = σ(e_z), v = e_v; both gates see the input only.

    Its Jacobian is the product of the gates 1 - z, site by site.
    """
    h, x, z, v = sympy.symbols("h x z v")
    gates = [rt.Gate("z", z, sympy.Integer(0)), rt.Gate("v", v, sympy.Integer(0))]
    update = h / (1 + sympy.exp(z)) + v / (1 + sympy.exp(-z))
    return rt.Cell("mingru", state=h, input=x, gates=gates, update=[update])


@cache
def networks() -> dict[str, rt.Ensemble]:
    """One ensemble for each cell, with untied Gaussian weights."""
    mild: dict[str, Any] = {"sigma_w": 1.5, "sigma_v": 0.7, "mu_b": 0.3, "R": 0.5}
    return {
        "minimal": rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5),
        "gru": rt.Ensemble("gru", **mild),
        "lstm": rt.Ensemble("lstm", **mild),
        "leaky": rt.Ensemble(leaky(sympy.Rational(1, 4)), sigma_w=1.5, sigma_v=0.5),
        # The spread of the bias makes tied and untied weights differ although no W is read.
        "mingru": rt.Ensemble(
            min_gru(), sigma_w=0.0, sigma_v=1.0, mu_b={"z": -1.0, "v": 0.0}, sigma_b={"z": 1.0, "v": 0.0}
        ),
    }
