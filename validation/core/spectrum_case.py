"""One case that most studies share: the spectrum of an ensemble beside a sample of it, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn import plotting
from rmtrnn.sampling.sample import Sample
from rmtrnn.spectra import Spectrum
from validation import core


def spectrum_case(
    key: str,
    ens: rt.Ensemble,
    *,
    T: int,
    N: int,
    trials: int,
    seed: int,
    burn_in: int,
    control: float | None,
    accuracy: dict[str, Any] | None = None,
) -> core.Case:
    """The case that `compute` understands.

    ``control`` is the factor by which σ_w is wrong in the control (None: there is none) and ``accuracy`` are
    the keywords passed on by `rmtrnn.spectrum`.
    """
    sizes = {"T": T, "N": N, "trials": trials, "seed": seed, "burn_in": burn_in}
    settings = {"ensemble": ens.to_dict(), "control": control, **sizes}
    return core.Case(key, settings | ({"accuracy": accuracy} if accuracy else {}))


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory, sample, comparison, the picture's numbers; as a control, a theory with a wrong σ_w."""
    settings = dict(case.settings)
    ens, T = rt.Ensemble.from_dict(settings.pop("ensemble")), settings.pop("T")
    factor, accuracy = settings.pop("control"), settings.pop("accuracy", {})
    spec = rt.spectrum(ens, T, **accuracy)
    mc = rt.sample(ens, T, executor=workers.executor, **settings)
    theory = {"method": spec.method, "converged": spec.converged, "cdf error": _plain(spec.error)}
    meta = {
        "title": plotting.spectrum_title(spec),
        "theory": theory | {"m_1 of the density": _plain(spec.density_moment(1))},
        "verdict": verdict(spec, mc),
        "sample": mc.provenance,
    }
    if factor is not None:
        wrong = ens.replace(sigma_w=scaled(ens.sigma_w, factor))
        meta["control"] = verdict(rt.spectrum(wrong, T, **accuracy), mc, same_network=False)
    return meta, plotting.SpectrumPicture.of(spec, mc.log_s).arrays()


def scaled(sigma: Any, factor: float) -> Any:
    """A weight scale, or every one of a mapping by gate, times ``factor``."""
    return {gate: factor * s for gate, s in sigma.items()} if hasattr(sigma, "items") else factor * sigma


def verdict(spec: Spectrum, mc: Sample, same_network: bool = True) -> dict[str, Any]:
    """What `rmtrnn.compare` says, in JSON types (numbers that are not finite as text)."""
    report = rt.compare(spec, mc, same_network=same_network)
    moments = [dict(zip(m._fields, map(_plain, m), strict=True)) for m in report.moments]
    return {
        "agrees": report.agrees,
        "decided": report.verdict != "undecided",
        "p value": _plain(report.p_value),
        "Kolmogorov": _plain(report.kolmogorov),
        "Wasserstein": _plain(report.wasserstein),
        "zero mass": [_plain(mass) for mass in report.zero_mass],
        "modes": [_plain(mode) for mode in report.modes],
        "mode errors": [_plain(error) for error in report.mode_errors],
        "bias allowed": _plain(report.allowance),
        "moments": moments,
    }


def _plain(value: Any) -> float | int | str:
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def picture(arrays: dict[str, np.ndarray]) -> plotting.SpectrumPicture:
    """The picture that `compute` saved."""
    return plotting.SpectrumPicture(**arrays)


def draw_grid(results: dict[str, core.Result], name: str, steps: Sequence[int], width: float) -> Any:
    """A figure with a row for each weight law and a column for each T; ``name-weights-T`` are the keys."""
    weights = ("gaussian", "orthogonal")
    figure, grid = plt.subplots(len(weights), len(steps), figsize=(width, 5.6), squeeze=False)
    for row, law in zip(grid, weights, strict=True):
        for column, (ax, T) in enumerate(zip(row, steps, strict=True)):
            saved = results.get(f"{name}-{law}-T{T}")
            if saved is None:
                ax.set_axis_off()
                continue
            picture(saved[1]).draw(ax, key=column == 0)
            ax.set_title(f"{law}, $T = {T}$" + ("" if "verdict" in saved[0] else ", predicted"))
            if column > 0:
                ax.set_ylabel("")
            if law != weights[-1]:
                ax.set_xlabel("")
    return figure


def verdict_rows(results: dict[str, core.Result]) -> list[list[str]]:
    """One row a case for the table with `VERDICT_HEADER`."""
    rows = []
    for key, (meta, _) in results.items():
        verdict = meta["verdict"]
        first = verdict["moments"][0]
        rows.append(
            [
                key,
                _text(meta["theory"]["cdf error"], ".0e"),
                _text(verdict["Kolmogorov"], ".4f"),
                _text(verdict["Wasserstein"], ".4f"),
                f"{_text(verdict['zero mass'][0], '.4f')} / {_text(verdict['zero mass'][1], '.4f')}",
                f"{_text(first['theory'], '.5g')} / {_text(first['sample'], '.5g')}"
                f" ± {_text(first['error'], '.1g')}",
                _text(verdict["p value"], ".2g"),
                theory_verdict(meta["theory"], verdict),
                _control(meta.get("control")),
            ]
        )
    return rows


# A theory that admits to a larger error of its cdf agrees with almost anything: that is no verdict.
DECISIVE = 0.02
VERDICT_HEADER = (
    "case",
    "cdf error",
    "Kolmogorov",
    "Wasserstein (log s)",
    "zeros: theory / sample",
    "m₁: theory / sample",
    "p",
    "theory",
    "control (wrong σ_w)",
)


def theory_verdict(theory: dict[str, Any], verdict: dict[str, Any]) -> str:
    """What the case says, in a word; bold where it is not agreement."""
    if not theory["converged"]:
        return "**not converged**"
    if float(theory["cdf error"]) > DECISIVE or not verdict.get("decided", True):
        return "**undecided**"
    return "agrees" if verdict["agrees"] else "**differs**"


def _control(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "-"
    if not verdict.get("decided", True):
        return "**undecided**"
    return "**not rejected**" if verdict["agrees"] else "rejected"


def _text(value: float | str, form: str) -> str:
    return value if isinstance(value, str) else format(value, form)
