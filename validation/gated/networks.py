"""The gated networks of the study: which cells, parameters, numbers of steps, and sizes of the samples."""

from __future__ import annotations

from dataclasses import dataclass

import sympy

import rmtrnn as rt
from validation import study

WEIGHTS = ("gaussian", "orthogonal")
BURN_IN = 500


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


def networks() -> dict[str, rt.Ensemble]:
    """One ensemble for each cell, with redrawn Gaussian weights."""
    mild = {"sigma_w": 1.5, "sigma_v": 0.7, "mu_b": 0.3, "R": 0.5}
    return {
        "minimal": rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, mu_b=1.0, R=0.5),
        "gru": rt.Ensemble("gru", **mild),
        "lstm": rt.Ensemble("lstm", **mild),
        "leaky": rt.Ensemble(leaky(sympy.Rational(1, 4)), sigma_w=1.5, sigma_v=0.5),
        # The spread of the bias makes tied and redrawn weights differ although no W is read.
        "mingru": rt.Ensemble(
            min_gru(), sigma_w=0.0, sigma_v=1.0, mu_b={"z": -1.0, "v": 0.0}, sigma_b={"z": 1.0, "v": 0.0}
        ),
    }


@dataclass(frozen=True)
class Plan:
    """Which T for a cell, with redrawn and with kept weights, by weight law; ``N`` units."""

    cell: str
    untied: tuple[int, ...]
    tied: tuple[int, ...]
    weights: tuple[str, ...] = WEIGHTS
    N: int = 2000


# The cost of the theory with kept weights grows as the cube of (weight matrices) * T, that of a sample as
# (s N)^3: what takes hours is left out.
_FULL = (
    Plan("minimal", (1, 3, 10, 30), (3, 8, 30)),
    Plan("gru", (1, 3, 10, 30), (3,)),
    Plan("leaky", (1, 3, 10, 30), (3, 16, 30), ("gaussian",)),
    Plan("leaky", (3,), (3,), ("orthogonal",)),
    Plan("mingru", (1, 3, 10, 30), (3, 10, 30), ("gaussian",)),
    Plan("lstm", (3,), ()),
    Plan("lstm", (1, 10), (3,), ("gaussian",), 1000),
)
_QUICK = (
    Plan("minimal", (1, 3), (3,), N=512),
    Plan("gru", (3,), (), N=512),
    Plan("lstm", (1,), (), ("gaussian",), N=256),
    Plan("leaky", (3,), (3,), ("gaussian",), N=512),
    Plan("mingru", (3,), (3,), ("gaussian",), N=512),
)
PLANS = {"quick": _QUICK, "full": _FULL}
TRIALS = 4


def list_cases(size: str) -> list[study.Case]:
    """All cases of a size; each has its own seed, given by its place in the list of all possible cases."""
    listed = []
    for plan in PLANS[size]:
        for weights in plan.weights:
            for tied, steps in ((False, plan.untied), (True, plan.tied)):
                listed += [_case(plan.cell, weights, tied, T, plan.N) for T in steps]
    return listed


def _case(cell: str, weights: str, tied: bool, T: int, N: int) -> study.Case:
    names = list(networks())
    seed = 4000 + 400 * names.index(cell) + 200 * (weights == "orthogonal") + 100 * tied + T
    ens = networks()[cell].replace(weights=weights, tied=tied)
    key = f"{cell}-{'tied' if tied else 'untied'}-{weights}-T{T}"
    sizes = {"T": T, "N": N, "trials": TRIALS, "seed": seed, "burn_in": BURN_IN}
    return study.Case(key, {"ensemble": ens.to_dict(), **sizes})
