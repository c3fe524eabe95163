"""Is the reported error of a Dyson spectrum honest? Random networks against 16 times as many sites.

Cells, parameters, weight laws and numbers of steps are drawn at random; beside them the minimalRNN at its
published point, T = 4 to 16, whose log s spans more than a hundred. The true error is taken to be the
largest difference of the cdf from that of an independent population 16 times larger, solved by itself, whose
own error (about a quarter; its points are placed more closely) counts against the reported one. The full size
takes the population that laws with untied weights have by default, before it grows. With tied weights a law
costs far more: fewer networks, of T ≤ 3, and fewer sites; those of their two-time mean fields grow by 16 too.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import sympy

import rmtrnn as rt
from rmtrnn import plotting
from validation import core

SIZES = {
    "quick": {"population": 2048, "networks": 30, "tied": 0, "published": 2},
    "standard": {"population": 16384, "networks": 100, "tied": 2, "published": 6},
    "full": {"population": 65536, "networks": 100, "tied": 5, "published": 10},
}
# With σ_w, μ_b, the weights and T of `published_networks`.
PUBLISHED: dict[str, Any] = {"sigma_v": 1.39, "R": 0.46}
TIED_POPULATION = 2048  # sites
TIED_STEPS = 3
FACTOR = 16
REFERENCE_TOL = (
    4e-5  # less than half of the default: what is compared are the populations and the law under test
)
_HEADER = ("network", "cell", "weights", "T", "reported", "true", "honest", "default reports")
AIM = 1e-3  # of the error at default settings
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


def summary(results: dict[str, core.Result]) -> dict[str, Any]:
    """Counts over the networks."""
    metas = [meta for meta, _ in results.values()]
    done = [meta for meta in metas if meta["converged"]]
    reported, true = (np.array([meta[name] for meta in done]) for name in ("reported", "true"))
    return {
        "networks": len(metas),
        "converged": len(done),
        "honest": int(np.sum(true <= reported)),
        "default_below_1e-3": int(np.sum([meta["default"] <= AIM for meta in metas])),
        "default_median": float(np.median([meta["default"] for meta in metas])),
        "default_largest": float(np.max([meta["default"] for meta in metas])),
        "default_seconds": float(np.median([meta["default seconds"] for meta in metas])),
        "median_reported": float(np.median(reported)),
        "largest_reported": float(np.max(reported)),
        "median_true": float(np.median(true)),
        "largest_true": float(np.max(true)),
    }


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write ``data``, ``report.md`` and the figure of true against reported error."""
    core.save_data(folder, "data", results, single=True)
    untied = {key: result for key, result in results.items() if "tied" not in result[0]["settings"]}
    tied = {key: result for key, result in results.items() if key not in untied}
    parts = [_part("untied weights", untied, "")]
    if tied:
        parts.append(_part("tied weights", tied, ""))
    text = "\n\n".join(
        (
            f"# The error of Dyson spectra ({size})",
            *parts,
            f"Made by `python -m validation dyson_error --{size}` with {core.describe(results)}.\n",
        )
    )
    (folder / "report.md").write_text(text)
    _figure({"untied weights": untied} | ({"tied weights": tied} if tied else {}), folder)


def _part(name: str, results: dict[str, core.Result], sites: str) -> str:
    """Counts in words, then the table."""
    found = summary(results)
    population = next(iter(results.values()))[0]["settings"]["population"]
    rows = [
        [
            key,
            meta["cell"],
            meta["ensemble"]["weights"],
            meta["T"],
            f"{meta['reported']:.1e}",
            f"{meta['true']:.1e}",
            "yes" if meta["true"] <= meta["reported"] else "**no**",
            f"{meta['default']:.1e}",
        ]
        for key, (meta, _) in results.items()
    ]
    return (
        f"## {name.capitalize()}\n\n"
        f"{found['networks']} random networks, {population} sites{sites} against {FACTOR} times as many; "
        f"{found['converged']} pairs converged. The true error is below the reported one in "
        f"{found['honest']}; "
        f"reported: median {found['median_reported']:.1e}, largest {found['largest_reported']:.1e}; "
        f"true: median {found['median_true']:.1e}, largest {found['largest_true']:.1e}.\n\n"
        f"At default settings, where the population has a free size, the reported error is at most {AIM:g} "
        f"in {found['default_below_1e-3']} of {found['networks']} (median {found['default_median']:.1e}, "
        f"largest {found['default_largest']:.1e}; median time {found['default_seconds']:.1f} s of one "
        "thread).\n\n"
        f"{core.table(_HEADER, rows)}"
    )


def _figure(groups: dict[str, dict[str, core.Result]], folder: Path) -> None:
    """One panel for untied and one for tied weights."""
    with plotting.style():
        figure, axes = plt.subplots(1, len(groups), figsize=(4.6 * len(groups), 4.2), squeeze=False)
        for ax, (name, results) in zip(axes[0], groups.items(), strict=True):
            _panel(ax, name, results)
        core.save_figure(figure, folder, "errors")
        plt.close(figure)


def _panel(ax: Any, name: str, results: dict[str, core.Result]) -> None:
    metas = [meta for meta, _ in results.values() if meta["converged"]]
    for cell, marker in (("minimal", "o"), ("gru", "s"), ("leaky", "^")):
        some = [meta for meta in metas if meta["cell"] == cell]
        pairs = [meta["reported"] for meta in some], [meta["true"] for meta in some]
        ax.plot(*pairs, marker, markersize=4, label=cell)
    low, high = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
    low = max(low, 1e-6)
    ax.plot([low, high], [low, high], "k-", linewidth=1, label="equal")
    population = metas[0]["settings"]["population"]
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="reported error of the cdf",
        ylabel=f"distance from {FACTOR} times as many sites",
        title=f"{name}: {len(results)} random networks, {population} sites",
    )
    ax.legend()


STUDY = core.Study(
    name="dyson_error",
    summary="random gated networks: reported error of the Dyson spectrum against 16 times as many sites",
    cost={
        "quick": "about 2 minutes on 2 cores",
        "standard": "about 10 minutes of one core",
        "full": "about an hour of one core",
    },
    cases=list_cases,
    compute=compute,
    report=report,
)
