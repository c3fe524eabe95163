"""Random and published networks, and their laws on two populations."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import sympy

import rmtrnn as rt
from validation import core

SIZES = {
    "quick": {"population": 2048, "networks": 30, "tied": 0, "published": 2},
    "standard": {"population": 16384, "networks": 100, "tied": 50, "published": 6},
    "full": {"population": 65536, "networks": 100, "tied": 100, "published": 10},
}
# With σ_w, μ_b, the weights and T of `published_networks`.
PUBLISHED: dict[str, Any] = {"sigma_v": 1.39, "R": 0.46}
TIED_POPULATION = 2048  # sites
TIED_STEPS = 3
FACTOR = 16
REFERENCE_TOL = (
    4e-5  # less than half of the default: what is compared are the populations and the law under test
)
LEVELS = np.linspace(0.002, 0.998, 500)  # of the reference cdf: where the two laws are compared


def leaky_cell() -> rt.Cell:
    """h' = 3/4 h + 1/4 tanh(e): a leaky network, written as a user would."""
    h, x, e = sympy.symbols("h x e")
    return rt.Cell("leaky", state=h, input=x, gates={e: h}, update={h: 0.75 * h + 0.25 * sympy.tanh(e)})


def random_network(seed: int) -> tuple[rt.Ensemble, int]:
    """A network with a stationary state, and a number of steps; the same for the same seed."""
    rng = np.random.default_rng([seed, 77])
    cells = {"minimal": rt.MinimalRNN(), "gru": rt.GRU(), "leaky": leaky_cell()}
    while True:
        cell = cells[str(rng.choice(list(cells)))]
        ens = rt.Ensemble(
            cell,
            sigma_w=round(float(rng.uniform(0.5, 3.0)), 3),
            sigma_v=round(float(rng.uniform(0.3, 1.5)), 3),
            mu_b=round(float(rng.uniform(-1.0, 2.0)), 3),
            sigma_b=round(float(rng.uniform(0.0, 0.5)), 3),
            R=round(float(rng.uniform(0.3, 1.0)), 3),
            weights=str(rng.choice(["gaussian", "orthogonal"])),
        )
        T = int(rng.choice([1, 2, 3, 5]))
        if rt.mean_field(ens).converged:
            return ens, T


def published_networks() -> dict[str, tuple[rt.Ensemble, int]]:
    """The minimalRNN at and near its published critical point, by name."""
    found = {}
    for T, mu_b, sigma_w in (
        (10, 0.0, 6.88),
        (6, 2.0, 6.88),
        (8, -2.0, 6.88),
        (4, 0.0, 6.8917),
        (16, 0.0, 6.88),
    ):
        for weights in ("gaussian", "orthogonal"):
            ens = rt.Ensemble("minimal", sigma_w=sigma_w, mu_b=mu_b, weights=weights, **PUBLISHED)
            found[f"{weights}-T{T}-{sigma_w:g}-{mu_b:g}"] = ens, T
    return found


def list_cases(size: str) -> list[core.Case]:
    """One case per network."""
    sizes = SIZES[size]
    untied = [
        core.Case(f"network-{seed:03d}", {"seed": seed, "population": sizes["population"]})
        for seed in range(sizes["networks"])
    ]
    tied = [
        core.Case(f"tied-{seed:03d}", {"seed": seed, "population": TIED_POPULATION, "tied": True})
        for seed in range(sizes["tied"])
    ]
    published = [
        core.Case(f"published-{name}", {"published": name, "population": sizes["population"]})
        for name in list(published_networks())[: sizes["published"]]
    ]
    return untied + published + tied


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """The reported error of a population, and its distance from one 16 times larger."""
    published = case.settings.get("published")
    ens, T = published_networks()[published] if published else random_network(case.settings["seed"])
    few, many = ({"population": factor * case.settings["population"]} for factor in (1, FACTOR))
    if "tied" in case.settings:
        ens, T = ens.replace(tied=True), min(T, TIED_STEPS)
    else:
        many["tol"] = REFERENCE_TOL
    start = time.process_time()
    spec = rt.spectrum(ens, T, seed=1, **few)
    cost = time.process_time() - start
    start = time.process_time()
    default = rt.spectrum(ens, T)
    default_cost = time.process_time() - start
    large = rt.spectrum(ens, T, seed=2, **many)
    u = large.log_s.icdf(LEVELS)
    true = float(np.max(np.abs(spec.log_s.cdf(u) - large.log_s.cdf(u))))
    meta = {
        "ensemble": ens.to_dict(),
        "cell": ens.cell.name,
        "T": T,
        "converged": spec.converged and large.converged,
        "reported": spec.error,
        "reference": large.error,
        "true": true,
        "seconds": cost,
        "default": default.error,
        "default converged": default.converged,
        "default seconds": default_cost,
    }
    return meta, {"u": u, "cdf": spec.log_s.cdf(u), "reference": large.log_s.cdf(u)}
