"""The cases of the study: weights, numbers of steps, sizes of the samples, and what is computed of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import rmtrnn as rt
from validation import core
from validation.beyond.gated import laws, samples
from validation.beyond.gated.networks import networks

WEIGHTS = ("gaussian", "orthogonal")
BURN_IN = 500
_POINTS = 400
_BINS = 60


@dataclass(frozen=True)
class Plan:
    """Which T for a cell, with untied and with tied weights, by weight law; ``trials`` networks of N units.

    The noise of a pooled sample goes like 1/√(N · trials), its bias like 1/N.
    """

    cell: str
    untied: tuple[int, ...]
    tied: tuple[int, ...]
    weights: tuple[str, ...] = WEIGHTS
    N: int = 1000
    trials: int = 8


# The cases that have to hold at N ≥ 2000 with at least 4 networks.
_ACCEPTANCE = (
    Plan("minimal", (1, 3, 10), (8,), N=2000),
    Plan("gru", (3,), (), N=2000, trials=4),
    Plan("lstm", (3,), (), N=2000, trials=4),
    Plan("leaky", (), (16,), ("gaussian",), N=2000),
)
# The rest, by smaller networks and more of them.
_STANDARD = (
    *_ACCEPTANCE,
    Plan("minimal", (30,), (10, 30), ("gaussian",)),
    Plan("minimal", (), (1, 3)),
    Plan("gru", (1, 10), (), N=500, trials=16),
    Plan("gru", (), (1, 3, 10, 30), ("gaussian",)),
    Plan("lstm", (1, 10), (), ("gaussian",), N=500, trials=16),
    Plan("lstm", (), (3, 10), ("gaussian",)),
    Plan("leaky", (1, 3, 10), (1, 3), ("gaussian",)),
    Plan("leaky", (30,), (), ("gaussian",), N=500, trials=16),
    Plan("leaky", (3,), (3,), ("orthogonal",)),
    Plan("mingru", (1, 3, 10), (3, 10), ("gaussian",), N=500, trials=96),
)
# Untied weights that are tried against the law of tied ones, though no sample has those.
_ALSO_TIED = (
    "minimal-untied-orthogonal-T10",
    "gru-untied-orthogonal-T3",
    "lstm-untied-gaussian-T3",
)
# What is left out, and why; the report says it.
LEFT_OUT = (
    "LSTM with tied weights at T = 30, whose comparison with wrong laws takes ten minutes and more, GRU and "
    "LSTM at T = 100, whose laws do; "
    "samples of GRU and LSTM with tied orthogonal weights, GRU and LSTM with untied weights at T = 30, tied "
    "leaky networks at T = 30",
    "minGRU with orthogonal weights: its Jacobian reads no weights, so that the law is the same",
)
_QUICK = (
    Plan("minimal", (3,), (3,), ("gaussian",), N=256),
    Plan("minimal", (1,), (), ("orthogonal",), N=256),
    Plan("gru", (1,), (), ("gaussian",), N=256),
    Plan("lstm", (1,), (), ("gaussian",), N=256, trials=4),
    Plan("leaky", (), (3,), ("gaussian",), N=256),
    Plan("mingru", (), (3,), ("gaussian",), N=256),
)
PLANS = {"quick": _QUICK, "standard": _STANDARD}


def list_cases(size: str) -> list[core.Case]:
    """All cases of a size, by cell; each has a seed of its own, from its place among all possible cases."""
    listed = []
    for plan in PLANS[size]:
        for weights in plan.weights:
            for tied, steps in ((False, plan.untied), (True, plan.tied)):
                listed += [_case(plan, weights, tied, T) for T in steps]
    kept = {case.key for case in listed}
    for case in listed:
        own = case.key.replace("-untied-", "-tied-") in kept
        case.settings["tied law"] = own or (size == "standard" and case.key in _ALSO_TIED)
    return sorted(listed, key=_order)


def _order(case: core.Case) -> tuple[int, bool, str, int]:
    cell, tied, weights, _ = case.key.split("-")
    return list(networks()).index(cell), tied == "tied", weights, case.settings["T"]


def _case(plan: Plan, weights: str, tied: bool, T: int) -> core.Case:
    names = list(networks())
    seed = 4000 + 400 * names.index(plan.cell) + 200 * (weights == "orthogonal") + 100 * tied + T
    ens = networks()[plan.cell].replace(weights=weights, tied=tied)
    key = f"{plan.cell}-{'tied' if tied else 'untied'}-{weights}-T{T}"
    sample = {"T": T, "N": plan.N, "trials": plan.trials, "seed": seed, "burn_in": BURN_IN}
    return core.Case(key, {"ensemble": ens.to_dict(), **sample})


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory, wrong laws, the sample, their distances, and the curves of the picture."""
    ens, T = rt.Ensemble.from_dict(case.settings["ensemble"]), case.settings["T"]
    mc = samples.draw(case, workers)
    theory = laws.law(ens, T)
    wrong = {own.name: own.law(T) for own in laws.wrong_laws(ens, T, case.settings["tied law"])}
    first = mc.moment(1)
    meta: dict[str, Any] = {
        "theory": laws.summary(theory, mc.log_s),
        "wrong": {name: laws.summary(spec, mc.log_s, theory) for name, spec in wrong.items()},
        "noise": samples.noise(mc.log_s),
        "m1 sample": [first.value, first.error],
        "sample": mc.provenance,
    }
    low, high = np.quantile(mc.log_s, [0.002, 1.0])
    margin = 0.08 * (high - low)
    u = np.linspace(low - margin, high + margin, _POINTS)
    histogram, edges = np.histogram(mc.log_s, bins=_BINS, range=(low - margin, high + margin))
    arrays = {"u": u, "edges": edges, "histogram": histogram / (mc.log_s.size * np.diff(edges))}
    for name, spec in {"theory": theory, **wrong}.items():
        if spec.converged:
            arrays[name] = spec.log_s.pdf(u)
    return meta, arrays
