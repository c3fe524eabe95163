"""Report, figures and claims of the singular values of J_T."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt

from rmtrnn import plotting
from validation import core
from validation.core import spectrum_case
from validation.paper.jacobian_spectra.cases import CONTROL, NETWORKS, PREDICTED_ONLY, SIZES

MEAN_ERROR = 0.01


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write data, ``report.md`` and one figure for each network."""
    core.save_data(folder, "data", results, single=True)
    sampled = _sampled(results)
    sizes = "; ".join(
        f"{cell}: " + ", ".join(f"T = {T}: {trials} of N = {N} units" for T, (N, trials) in own.items())
        for cell, own in SIZES[size].items()
    )
    text = (
        f"# Singular values of J_T for the networks of the paper ({size})\n\n"
        f"Theory against sampled networks, {sizes}; vanilla networks at T = {PREDICTED_ONLY} are predicted "
        f"only.\nControl: the theory with σ_w × {CONTROL:g}.\n\n"
        f"{core.table(spectrum_case.VERDICT_HEADER, spectrum_case.verdict_rows(sampled))}\n\n"
        f"Made by `python -m validation jacobian_spectra --{size}` with {core.describe(results)}. "
        "Parameters, seeds and all numbers: `data.json`, `data.npz`.\n"
    )
    (folder / "report.md").write_text(text)
    for name in NETWORKS:
        if any(key.startswith(name) for key in results):
            _figure(name, results, folder)


def claims(results: dict[str, core.Result]) -> list[core.Claim]:
    """One claim for each cell, and one for what was not computed."""
    return [_claim(results, cell) for cell in ("vanilla", "minimal")]


def _sampled(results: dict[str, core.Result]) -> dict[str, core.Result]:
    return {key: saved for key, saved in results.items() if "verdict" in saved[0]}


class _Judged(NamedTuple):
    """The cases of one cell: the theory and control of each sampled case, and what the numbers say.

    ``states``: "agrees", "differs" or "undecided" by case; ``rejected`` controls; ``kolmogorov``, largest
    distance; ``error``, largest stated one of a cdf; ``mean``, largest relative error of m₁ against (6).
    """

    states: dict[str, str]
    rejected: int
    kolmogorov: float
    error: float
    mean: float
    steps: list[int]
    predicted_only: list[int]

    @classmethod
    def of(cls, own: dict[str, core.Result]) -> _Judged:
        sampled = {key: meta for key, (meta, _) in _sampled(own).items()}
        steps = {key: meta["settings"]["T"] for key, (meta, _) in own.items()}
        return cls(
            states={key: _state(meta) for key, meta in sampled.items()},
            rejected=sum(_state_of_control(meta) for meta in sampled.values()),
            kolmogorov=max(float(meta["verdict"]["Kolmogorov"]) for meta in sampled.values()),
            error=max(float(meta["theory"]["cdf error"]) for meta, _ in own.values()),
            mean=max(_mean_error(meta) for meta in sampled.values()),
            steps=sorted(set(steps.values())),
            predicted_only=sorted({T for key, T in steps.items() if key not in sampled}),
        )

    def in_state(self, state: str) -> list[str]:
        """The cases in this state."""
        return [key for key, own in self.states.items() if own == state]

    def found(self) -> str:
        """How many cases agree, and at which T."""
        steps, alone = (", ".join(map(str, some)) for some in (self.steps, self.predicted_only))
        silent = len(self.in_state("undecided"))
        return (
            f"{len(self.in_state('agrees'))} of {len(self.states)} sampled cases agree"
            + (f", {silent} cannot tell" if silent else "")
            + f" (T = {steps}"
            + (f", of which {alone} predicted only)" if alone else ")")
        )

    def numbers(self) -> str:
        """What was measured, in words."""
        silent = self.in_state("undecided")
        return (
            f"largest Kolmogorov distance {self.kolmogorov:.4f}; largest stated error of a predicted "
            f"cdf {self.error:.1e}; m₁ of the predicted density differs from χ^T by up to {self.mean:.1e} "
            f"(relative); theory with σ_w × {CONTROL:g} rejected in {self.rejected} of {len(self.states)}"
            + (f"; cannot tell: {', '.join(silent)}" if silent else "")
        )


_REASON = (
    "a case agrees by `rmtrnn.compare` at its 1 % level; it cannot tell where the law is not converged or "
    f"its m₁ is not χ^T to {MEAN_ERROR:g} (it lacks a part of its far right tail), or where the sample "
    f"does not reject σ_w × {CONTROL:g}; {core.BY_CASES}; "
)
_BEYOND = {
    "vanilla": "beyond the largest sampled T the prediction stands alone",
    "minimal": "larger T are not decided by this run",
}


def _claim(results: dict[str, core.Result], cell: str) -> core.Claim:
    """Random matrix theory, (9) or (13), predicts the singular values of this cell's Jacobian."""
    judged = _Judged.of({key: saved for key, saved in results.items() if key.startswith(cell)})
    return core.Claim(
        item="Spectra",
        claim=f"{core.CELL_NAMES[cell]}: random matrix theory predicts the singular values of the Jacobian, "
        "at and off criticality, for Gaussian and orthogonal weights.",
        found=judged.found(),
        numbers=judged.numbers(),
        **core.by_cases(*map(judged.in_state, ("agrees", "differs", "undecided"))),
        reason=_REASON + _BEYOND[cell],
        figures=tuple(name for name in NETWORKS if name.startswith(cell)),
    )


def _mean_error(meta: dict[str, Any]) -> float:
    """How far m₁ of the predicted density is from χ^T, which is exact."""
    exact = meta["chi"] ** meta["settings"]["T"]
    # Vanilla cases computed before the density had a moment of its own: their law and its density are one.
    found = meta["theory"].get("m_1 of the density", meta["verdict"]["moments"][0]["theory"])
    return abs(float(found) / exact - 1.0)


def _state(meta: dict[str, Any]) -> str:
    text = spectrum_case.theory_verdict(meta["theory"], meta["verdict"]).strip("*")
    if text == "agrees":
        return text if _state_of_control(meta) and _mean_error(meta) < MEAN_ERROR else "undecided"
    return "undecided" if text == "not converged" else text


def _state_of_control(meta: dict[str, Any]) -> bool:
    return not meta["control"]["agrees"] and meta["control"]["decided"]


def _figure(name: str, results: dict[str, core.Result], folder: Path) -> None:
    own = {key: saved for key, saved in results.items() if key.startswith(name)}
    steps = sorted({meta["settings"]["T"] for meta, _ in own.values()})
    with plotting.style():
        figure = spectrum_case.draw_grid(results, name, steps, width=3.1 * len(steps))
        cell, state = name.split("-")
        chi = next(iter(own.values()))[0]["chi"]
        values = ", ".join(f"${_SYMBOLS[key]} = {value:g}$" for key, value in NETWORKS[name][1].items())
        figure.suptitle(f"{cell}, {state} ($\\chi = {chi:.4f}$)\n{values}", fontsize=10)
        core.save_figure(figure, folder, name)
        plt.close(figure)


_SYMBOLS = {"sigma_w": r"\sigma_w", "sigma_v": r"\sigma_v", "mu_b": r"\mu_b", "R": "R"}
