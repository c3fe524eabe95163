"""Random-matrix theory of recurrent networks: mean field, Jacobian spectra, dynamical isometry.

>>> import rmtrnn as rt
>>> ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
>>> spec = rt.spectrum(ens, T=8)        # law of the singular values of the 8-step Jacobian

Names are loaded on first use, so that ``import rmtrnn`` stays fast and loads no optional package.
"""

from __future__ import annotations

import importlib
from typing import Any

from rmtrnn._core.registry import DRAW, KINDS, RESTORE

__version__ = "0.1.0"

_HOMES = {
    "Activation": "rmtrnn.cells",
    "Cell": "rmtrnn.cells",
    "UGRNN": "rmtrnn.cells",
    "MinLSTM": "rmtrnn.cells",
    "MinGRU": "rmtrnn.cells",
    "MGU": "rmtrnn.cells",
    "Leaky": "rmtrnn.cells",
    "JANET": "rmtrnn.cells",
    "CFN": "rmtrnn.cells",
    "GRU": "rmtrnn.cells",
    "Gate": "rmtrnn.cells",
    "LSTM": "rmtrnn.cells",
    "MinimalRNN": "rmtrnn.cells",
    "Stage": "rmtrnn.cells",
    "VanillaRNN": "rmtrnn.cells",
    "ConvergenceError": "rmtrnn._core.status",
    "Ensemble": "rmtrnn.ensemble",
    "NoCriticalPointError": "rmtrnn.criticality.root_search",
    "Status": "rmtrnn._core.status",
    "GivenNetwork": "rmtrnn.sampling.given_network",
    "LogProduct": "rmtrnn.sampling.products",
    "compare": "rmtrnn.comparison",
    "critical": "rmtrnn.criticality.point",
    "eigenvalue_curve": "rmtrnn.spectra",
    "isometry": "rmtrnn.isometry_report",
    "jacobian_log_s": "rmtrnn.sampling.given_network",
    "load": "rmtrnn._core.storage",
    "lyapunov": "rmtrnn.spectra.lyapunov",
    "mean_field": "rmtrnn.meanfield",
    "phase_diagram": "rmtrnn.phase",
    "sample": "rmtrnn.sampling.sample",
    "sample_lyapunov": "rmtrnn.sampling.lyapunov",
    "sensitivity": "rmtrnn.initialisation.sensitivity",
    "spectral_radius": "rmtrnn.spectra",
    "spectrum": "rmtrnn.spectra",
}
_MODULES = ("free", "highprec", "plotting", "spectra", "symbolic")
# Where results are defined, by the kind under which they are saved.
_RESULTS = {
    "comparison": "rmtrnn.comparison",
    "critical point": "rmtrnn.criticality.point",
    "ensemble": "rmtrnn.ensemble",
    "isometry": "rmtrnn.isometry_report",
    "lyapunov sample": "rmtrnn.sampling.lyapunov",
    "lyapunov spectrum": "rmtrnn.spectra.lyapunov",
    "mean field": "rmtrnn.meanfield.result",
    "phase diagram": "rmtrnn.phase",
    "sample": "rmtrnn.sampling.sample",
    "sensitivity": "rmtrnn.initialisation.sensitivity",
    "spectrum": "rmtrnn.spectra",
    "trajectory jacobian": "rmtrnn.sampling.given_network",
}
_EXTRAS = ("torch",)  # found as rt.torch, but not in __all__: they need an optional package

for _registry in (RESTORE, KINDS):
    _registry.homes.update(_RESULTS)
DRAW.homes.update(dict.fromkeys(_RESULTS, "rmtrnn.plotting"))

__all__ = sorted([*_HOMES, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in (*_MODULES, *_EXTRAS):
        return importlib.import_module(f"rmtrnn.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rmtrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
