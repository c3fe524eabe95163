"""Random-matrix theory of recurrent networks: mean field, Jacobian spectra, dynamical isometry.

>>> import rmtrnn as rt
>>> ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
>>> spec = rt.spectrum(ens, T=8)        # law of the singular values of the 8-step Jacobian

Names are loaded on first use, so that ``import rmtrnn`` stays fast and loads no optional package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rmtrnn._core.registry import DRAW, KINDS, RESTORE

if TYPE_CHECKING:  # what type checkers and editors see of the names that `__getattr__` loads
    from rmtrnn import free as free
    from rmtrnn import highprec as highprec
    from rmtrnn import plotting as plotting
    from rmtrnn import spectra as spectra
    from rmtrnn import symbolic as symbolic
    from rmtrnn._core.status import ConvergenceError as ConvergenceError
    from rmtrnn._core.status import Status as Status
    from rmtrnn._core.storage import load as load
    from rmtrnn.cells import CFN as CFN
    from rmtrnn.cells import GRU as GRU
    from rmtrnn.cells import JANET as JANET
    from rmtrnn.cells import LSTM as LSTM
    from rmtrnn.cells import MGU as MGU
    from rmtrnn.cells import UGRNN as UGRNN
    from rmtrnn.cells import Activation as Activation
    from rmtrnn.cells import Cell as Cell
    from rmtrnn.cells import Gate as Gate
    from rmtrnn.cells import Leaky as Leaky
    from rmtrnn.cells import MinGRU as MinGRU
    from rmtrnn.cells import MinimalRNN as MinimalRNN
    from rmtrnn.cells import MinLSTM as MinLSTM
    from rmtrnn.cells import Stage as Stage
    from rmtrnn.cells import VanillaRNN as VanillaRNN
    from rmtrnn.classes_of_units import populations as populations
    from rmtrnn.comparison import Comparison as Comparison
    from rmtrnn.comparison import compare as compare
    from rmtrnn.criticality.point import Critical as Critical
    from rmtrnn.criticality.point import critical as critical
    from rmtrnn.criticality.root_search import NoCriticalPointError as NoCriticalPointError
    from rmtrnn.ensemble import Ensemble as Ensemble
    from rmtrnn.initialisation.plan import initialize as initialize
    from rmtrnn.initialisation.sensitivity import sensitivity as sensitivity
    from rmtrnn.isometry_report import Isometry as Isometry
    from rmtrnn.isometry_report import isometry as isometry
    from rmtrnn.meanfield import MeanField as MeanField
    from rmtrnn.meanfield import mean_field as mean_field
    from rmtrnn.meanfield.layer_norm import layer_normalized as layer_normalized
    from rmtrnn.phase import PhaseDiagram as PhaseDiagram
    from rmtrnn.phase import phase_diagram as phase_diagram
    from rmtrnn.sampling.given_network import GivenNetwork as GivenNetwork
    from rmtrnn.sampling.given_network import jacobian_log_s as jacobian_log_s
    from rmtrnn.sampling.lyapunov import LyapunovSample as LyapunovSample
    from rmtrnn.sampling.lyapunov import sample_lyapunov as sample_lyapunov
    from rmtrnn.sampling.products import LogProduct as LogProduct
    from rmtrnn.sampling.sample import Sample as Sample
    from rmtrnn.sampling.sample import sample as sample
    from rmtrnn.spectra import Spectrum as Spectrum
    from rmtrnn.spectra import eigenvalue_curve as eigenvalue_curve
    from rmtrnn.spectra import spectral_radius as spectral_radius
    from rmtrnn.spectra import spectrum as spectrum
    from rmtrnn.spectra.lyapunov import LyapunovSpectrum as LyapunovSpectrum
    from rmtrnn.spectra.lyapunov import lyapunov as lyapunov
    from rmtrnn.spectra.outliers import Outliers as Outliers
    from rmtrnn.spectra.outliers import outliers as outliers
    from rmtrnn.spectra.singular_outliers import SingularOutliers as SingularOutliers
    from rmtrnn.spectra.singular_outliers import singular_outliers as singular_outliers
    from rmtrnn.stack import Stack as Stack
    from rmtrnn.weight_laws import SingularValues as SingularValues

__version__ = "0.2.0"

_HOMES = {
    "Activation": "rmtrnn.cells",
    "Cell": "rmtrnn.cells",
    "CFN": "rmtrnn.cells",
    "Comparison": "rmtrnn.comparison",
    "ConvergenceError": "rmtrnn._core.status",
    "Critical": "rmtrnn.criticality.point",
    "Ensemble": "rmtrnn.ensemble",
    "Gate": "rmtrnn.cells",
    "GivenNetwork": "rmtrnn.sampling.given_network",
    "GRU": "rmtrnn.cells",
    "Isometry": "rmtrnn.isometry_report",
    "JANET": "rmtrnn.cells",
    "Leaky": "rmtrnn.cells",
    "LogProduct": "rmtrnn.sampling.products",
    "LSTM": "rmtrnn.cells",
    "LyapunovSample": "rmtrnn.sampling.lyapunov",
    "LyapunovSpectrum": "rmtrnn.spectra.lyapunov",
    "MeanField": "rmtrnn.meanfield",
    "MGU": "rmtrnn.cells",
    "MinGRU": "rmtrnn.cells",
    "MinimalRNN": "rmtrnn.cells",
    "MinLSTM": "rmtrnn.cells",
    "NoCriticalPointError": "rmtrnn.criticality.root_search",
    "Outliers": "rmtrnn.spectra.outliers",
    "PhaseDiagram": "rmtrnn.phase",
    "Sample": "rmtrnn.sampling.sample",
    "SingularOutliers": "rmtrnn.spectra.singular_outliers",
    "SingularValues": "rmtrnn.weight_laws",
    "Spectrum": "rmtrnn.spectra",
    "Stack": "rmtrnn.stack",
    "Stage": "rmtrnn.cells",
    "Status": "rmtrnn._core.status",
    "UGRNN": "rmtrnn.cells",
    "VanillaRNN": "rmtrnn.cells",
    "compare": "rmtrnn.comparison",
    "critical": "rmtrnn.criticality.point",
    "eigenvalue_curve": "rmtrnn.spectra",
    "initialize": "rmtrnn.initialisation.plan",
    "isometry": "rmtrnn.isometry_report",
    "jacobian_log_s": "rmtrnn.sampling.given_network",
    "layer_normalized": "rmtrnn.meanfield.layer_norm",
    "load": "rmtrnn._core.storage",
    "lyapunov": "rmtrnn.spectra.lyapunov",
    "mean_field": "rmtrnn.meanfield",
    "outliers": "rmtrnn.spectra.outliers",
    "phase_diagram": "rmtrnn.phase",
    "populations": "rmtrnn.classes_of_units",
    "sample": "rmtrnn.sampling.sample",
    "sample_lyapunov": "rmtrnn.sampling.lyapunov",
    "sensitivity": "rmtrnn.initialisation.sensitivity",
    "singular_outliers": "rmtrnn.spectra.singular_outliers",
    "spectral_radius": "rmtrnn.spectra",
    "spectrum": "rmtrnn.spectra",
}
_MODULES = ("free", "highprec", "plotting", "spectra", "symbolic")
# Where results are defined, by the kind under which they are saved.
_RESULTS = {
    "initialisation plan": "rmtrnn.initialisation.plan",
    "comparison": "rmtrnn.comparison",
    "critical point": "rmtrnn.criticality.point",
    "ensemble": "rmtrnn.ensemble",
    "isometry": "rmtrnn.isometry_report",
    "lyapunov sample": "rmtrnn.sampling.lyapunov",
    "lyapunov spectrum": "rmtrnn.spectra.lyapunov",
    "mean field": "rmtrnn.meanfield.result",
    "outliers": "rmtrnn.spectra.outliers",
    "phase diagram": "rmtrnn.phase",
    "sample": "rmtrnn.sampling.sample",
    "sensitivity": "rmtrnn.initialisation.sensitivity",
    "singular outliers": "rmtrnn.spectra.singular_outliers",
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
