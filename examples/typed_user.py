"""A user's script with types: `mypy --strict typed_user.py` finds nothing to say."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

import rmtrnn as rt


def ensemble(gain: float) -> rt.Ensemble:
    return rt.Ensemble("lstm", sigma_w=gain, sigma_v=0.5, mu_b={"f": 3.0}, weights="orthogonal")


def median(ens: rt.Ensemble, T: int) -> float:
    spec: rt.Spectrum = rt.spectrum(ens, T, progress=False)
    assert spec.converged, spec.message
    return float(spec.log_s.icdf(0.5))


def agreement(ens: rt.Ensemble, T: int) -> tuple[bool, float]:
    report = rt.compare(rt.spectrum(ens, T), rt.sample(ens, T, N=64, trials=2, seed=1))
    return report.agrees, report.kolmogorov


def growth(ens: rt.Ensemble, gains: list[float]) -> np.ndarray:
    phases = rt.phase_diagram(ens, sigma_w=np.array(gains))
    return np.asarray(phases.chi)


def picture(ens: rt.Ensemble) -> Axes:
    return rt.plotting.plot_spectrum(rt.spectrum(ens, 2))


def start(T: int) -> rt.Ensemble:
    point = rt.critical("vanilla", T=T, weights="orthogonal", R=0.46)
    field: rt.MeanField = rt.mean_field(point.ensemble)
    assert abs(field.chi - 1.0) < 1e-6
    return point.ensemble


if __name__ == "__main__":
    lstm = ensemble(1.0)
    print(median(lstm, 2), agreement(lstm, 2), growth(lstm, [0.5, 1.0]), picture(lstm), start(20))
