"""The networks of the study, its cases, and what is computed for each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core.trials import run_trials
from validation import core
from validation.paper.mean_field_dynamics import pairs

R = 0.46
MINIMAL = {"sigma_w": 6.88, "sigma_v": 1.39, "R": R}
VANILLA = {"sigma_v": 0.025, "R": R}
FIGURE_BIASES = (-3.0, 0.0, 2.0, 3.5, 5.5)
STEPS, UNCORRELATED = 100, 10
# One ordered, one critical (σ_w of the closed form at σ_v = 0.025), one chaotic network of each cell.
EVOLUTION = {
    "vanilla-ordered": ("vanilla", {**VANILLA, "sigma_w": 0.8}),
    "vanilla-critical": ("vanilla", {**VANILLA, "sigma_w": 1.0598}),
    "vanilla-chaotic": ("vanilla", {**VANILLA, "sigma_w": 2.0}),
    "minimal-ordered": ("minimal", {**MINIMAL, "mu_b": -2.0}),
    "minimal-critical": ("minimal", {**MINIMAL, "mu_b": 0.0}),
    "minimal-chaotic": ("minimal", {**MINIMAL, "mu_b": 3.5}),
}
EVOLUTION_STEPS = 40
CORRELATIONS = (-0.5, 0.0, 0.5, 0.9)
SCALES = (0.05, 0.3, 1.0, 2.0)  # Q0 in units of the larger of Q* and R
MAP = tuple(np.linspace(-0.8, 0.95, 8).round(4).tolist())
TIMESCALES = {
    **{f"vanilla-{w}": ("vanilla", {**VANILLA, "sigma_w": w}) for w in (0.6, 0.8, 0.95, 1.3, 1.6, 2.0)},
    **{f"minimal-{b}": ("minimal", {**MINIMAL, "mu_b": b}) for b in (-4.0, -2.0, -1.0, 2.0, 3.5, 4.5)},
}
SIZES = {
    "quick": {"N": 1024, "tied": 8, "untied": 16, "decay": 128},
    "full": {"N": 4096, "tied": 32, "untied": 64, "decay": 512},
}


def list_cases(size: str) -> list[core.Case]:
    """All cases of a size; every case has its own seed."""
    listed: list[core.Case] = []

    def add(key: str, cell: str, parameters: dict[str, Any], tied: bool, **settings: Any) -> None:
        ens = rt.Ensemble(cell, **parameters, Sigma=1.0, tied=tied)
        weights = "tied" if tied else "untied"
        own = {"ensemble": ens.to_dict(), "N": SIZES[size]["N"], "trials": SIZES[size][weights]}
        own |= {"seed": 3000 + len(listed), **settings}
        listed.append(core.Case(f"{key}-{weights}", own))

    for tied in (False, True):
        for start in ("stationary", "zero"):
            for mu_b in FIGURE_BIASES:
                parameters = {**MINIMAL, "mu_b": mu_b}
                add(f"figure1-{start}-{mu_b:g}", "minimal", parameters, tied, kind="figure1", start=start)
        for key, (cell, parameters) in EVOLUTION.items():
            add(f"evolution-{key}", cell, parameters, tied, kind="evolution")
    for key, (cell, parameters) in TIMESCALES.items():
        add(
            f"decay-{key}",
            cell,
            parameters,
            False,
            kind="decay",
            N=2 * SIZES[size]["N"],
            trials=SIZES[size]["decay"],
        )
    return listed


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Theory and simulation of one case."""
    kinds = {"figure1": _figure1, "evolution": _evolution, "decay": _decay}
    return kinds[case.settings["kind"]](case.settings, workers)


def _simulated(
    settings: dict[str, Any], workers: core.Workers, starts: list, steps: int, uncorrelated: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(q, c), each (trials, steps, pairs)."""
    parameters = {name: settings[name] for name in ("ensemble", "N", "seed")}
    parameters |= {"starts": [list(map(float, start)) for start in starts]}
    parameters |= {"steps": steps, "uncorrelated": uncorrelated}
    rows = run_trials(
        pairs.simulate,
        parameters,
        settings["trials"],
        executor=workers.executor,
        checkpoint=None,
        report=lambda done, total, label: None,
        label="",
    )
    return pairs.trajectories(rows, steps)


def _mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trials and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def _figure1(settings: dict[str, Any], workers: core.Workers) -> core.Result:
    """Two inputs independent for the first steps and equal afterwards."""
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    mf, untied = rt.mean_field(ens), rt.mean_field(ens.replace(tied=False))
    second = float(untied.Q) if settings["start"] == "stationary" else 0.0  # type: ignore[arg-type]
    start = (second, 0.0)
    predicted = pairs.theory(ens, start, STEPS, UNCORRELATED)
    wrong = ens.replace(sigma_w=1.1 * MINIMAL["sigma_w"])
    control = pairs.theory(wrong, start, STEPS, UNCORRELATED)
    paper = pairs.theory(ens.replace(tied=False), start, STEPS, UNCORRELATED)
    q, c = _simulated(settings, workers, [start], STEPS, UNCORRELATED)
    found, error = _mean(c[:, :, 0])
    found_q, error_q = _mean(q[:, :, 0])
    meta = {
        "steps": STEPS,
        "uncorrelated": UNCORRELATED,
        "c_star": mf.c_star,
        "q_star": mf.q,
        "timescale": mf.timescale if math.isfinite(mf.timescale) else "inf",
        "converged": mf.converged,
        "c distance": _distance(found, error, predicted[1]),
        "control": _distance(found, error, control[1]),
        "untied": _distance(found, error, paper[1]),
        "q distance": _distance(found_q / predicted[0], error_q / predicted[0], np.ones(STEPS)),
        "last q": [float(found_q[-1]), float(predicted[0][-1])],
        "last c": [float(found[-1]), float(predicted[1][-1])],
    }
    arrays = {"q_theory": predicted[0], "c_theory": predicted[1], "c": found, "c_error": error}
    return meta, arrays | {"q": found_q, "q_error": error_q}


def _evolution(settings: dict[str, Any], workers: core.Workers) -> core.Result:
    """q from several Q0, c from several correlations (equal inputs), and the map c → f(c) at q*."""
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    mf, untied = rt.mean_field(ens), rt.mean_field(ens.replace(tied=False))
    Q = float(untied.Q)  # type: ignore[arg-type]
    unit = max(Q, R)
    by_scale = [(scale * unit, 0.0) for scale in SCALES]
    by_correlation = [(Q, c) for c in CORRELATIONS]
    by_map = [(Q, c) for c in MAP]
    starts = by_scale + by_correlation
    predicted = np.array([pairs.theory(ens, start, EVOLUTION_STEPS) for start in starts])
    grid = [(Q, c) for c in np.linspace(-1.0, 1.0, 41)]
    curve = np.array([pairs.theory(ens, start, 2)[1] for start in grid])
    q, c = _simulated(settings, workers, starts, EVOLUTION_STEPS)
    _, steps = _simulated(settings | {"seed": settings["seed"] + 500}, workers, by_map, 2)
    (q_mean, q_error), (c_mean, c_error) = _mean(q), _mean(c)
    (point, point_error) = _mean(steps)
    predicted_map = np.array([pairs.theory(ens, start, 2)[1] for start in by_map])
    # The error along the map is that of f(c) at the c that was met: to first order f(c) − slope · δc.
    slope = np.interp(
        point[0], 0.5 * (curve[1:, 0] + curve[:-1, 0]), np.diff(curve[:, 1]) / np.diff(curve[:, 0])
    )
    shifted = predicted_map[:, 1] + slope * (point[0] - predicted_map[:, 0])
    half = len(SCALES)
    scale = predicted[:half, 0].T
    meta = {
        "q_star": mf.q,
        "c_star": mf.c_star,
        "chi": mf.chi,
        "timescale": mf.timescale if math.isfinite(mf.timescale) else "inf",
        "converged": mf.converged,
        "q distance": _distance(q_mean[:, :half] / scale, q_error[:, :half] / scale, np.ones_like(scale)),
        "c distance": _distance(c_mean[:, half:], c_error[:, half:], predicted[half:, 1].T),
        "map distance": _distance(point[1], point_error[1], shifted),
    }
    arrays = {"theory": predicted, "q": q_mean, "q_error": q_error, "c": c_mean, "c_error": c_error}
    return meta, arrays | {"map_theory": curve, "map": point, "map_error": point_error}


def _decay(settings: dict[str, Any], workers: core.Workers) -> core.Result:
    """Rate at which |c^t − c*| decays: −1/ξ, fitted late on the mean field's curve, and on the simulation.

    The simulation sees distances above its fluctuations only, where the decay may not be that of the linear
    regime yet: it is compared with the theory's curve over the same steps.
    """
    ens = rt.Ensemble.from_dict(settings["ensemble"])
    mf = rt.mean_field(ens)
    c_star, xi, Q = float(mf.c_star), mf.timescale, float(mf.Q)  # type: ignore[arg-type]
    ordered = c_star > 1.0 - 1e-9
    begin = 0.0 if c_star > 0.4 else 0.9
    steps = math.ceil(12.0 * xi) + 10
    predicted = pairs.theory(ens, (Q, begin), steps)[1]
    distance = np.abs(predicted - c_star)
    late = np.flatnonzero((distance < 1e-3) & (distance > 1e-5))
    # Ordered: noise dies with the distance. Chaotic: it does not, and hides all that is far below 0.05.
    largest, least = (0.1, 1e-3) if ordered else (0.8 * abs(begin - c_star), 0.05)
    window = np.flatnonzero((distance < largest) & (distance > least))
    length = int(window[-1]) + 1
    _, c = _simulated(settings, workers, [(Q, begin)], length)
    away = c[:, :, 0] - c_star
    rng = np.random.default_rng(settings["seed"])
    resampled = [np.abs(away[rng.integers(len(c), size=len(c))].mean(axis=0)) for _ in range(400)]
    meta = {
        "c_star": c_star,
        "ordered": ordered,
        "converged": mf.converged,
        "timescale": xi,
        "late fit": -1.0 / _rate(distance, late),
        "fit on theory": -1.0 / _rate(distance, window),
        "fit on simulation": -1.0 / _rate(np.abs(away.mean(axis=0)), window),
        "error": float(np.std([-1.0 / _rate(sample, window) for sample in resampled], ddof=1)),
        "window": [int(window[0]), int(window[-1])],
    }
    return meta, {"theory": distance, "simulation": np.abs(away.mean(axis=0))}


def _rate(distance: np.ndarray, window: np.ndarray) -> float:
    """Slope of log |c^t − c*| over the window, by least squares."""
    return float(np.polyfit(window, np.log(distance[window]), 1)[0])


def _distance(found: np.ndarray, error: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """How far a simulated mean lies from the theory: in its own units, and in standard errors."""
    away = found - predicted
    known = error > 1e-6  # equal replicas have neither error nor deviation
    in_errors = math.sqrt(float(np.mean((away[known] / error[known]) ** 2))) if known.any() else 0.0
    rms = math.sqrt(float(np.mean(away**2)))
    return {"rms": rms, "largest": float(np.abs(away).max()), "rms in errors": in_errors}


AGREES = {"rms": 0.01, "rms in errors": 2.0}


def agrees(distance: dict[str, float]) -> bool:
    """Whether the deviation is small: less than two standard errors, or a hundredth, in the mean square."""
    return any(distance[name] < bound for name, bound in AGREES.items())
