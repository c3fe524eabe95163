"""Pictures of results: every function draws on an axes, returns it, and neither shows nor saves anything.

The palette is that of Okabe and Ito, which colour-blind readers can tell apart; theory is a line, a sample
a filled histogram, an atom a stem at its place whose mass stands in the legend.
"""

from rmtrnn._core.registry import DRAW
from rmtrnn.plotting.curves import (
    plot_correlation,
    plot_isometry,
    plot_lyapunov,
    plot_mean_field,
    plot_outliers,
    plot_phase_diagram,
    plot_scores,
    plot_sensitivity,
    plot_singular_outliers,
)
from rmtrnn.plotting.look import ATOM as ATOM
from rmtrnn.plotting.look import LN10 as LN10
from rmtrnn.plotting.look import LOG_S as LOG_S
from rmtrnn.plotting.look import PALETTE as PALETTE
from rmtrnn.plotting.look import SAMPLE as SAMPLE
from rmtrnn.plotting.look import THEORY as THEORY
from rmtrnn.plotting.look import spectrum_title, style
from rmtrnn.plotting.spectra import SpectrumPicture, plot_comparison, plot_given, plot_sample, plot_spectrum

__all__ = [
    "SpectrumPicture",
    "plot_comparison",
    "plot_correlation",
    "plot_given",
    "plot_isometry",
    "plot_lyapunov",
    "plot_mean_field",
    "plot_outliers",
    "plot_phase_diagram",
    "plot_sample",
    "plot_scores",
    "plot_sensitivity",
    "plot_singular_outliers",
    "plot_spectrum",
    "spectrum_title",
    "style",
]

for _kind, _draw in {
    "comparison": plot_scores,
    "isometry": plot_isometry,
    "lyapunov sample": plot_lyapunov,
    "lyapunov spectrum": plot_lyapunov,
    "mean field": plot_mean_field,
    "outliers": plot_outliers,
    "phase diagram": plot_phase_diagram,
    "sensitivity": plot_sensitivity,
    "singular outliers": plot_singular_outliers,
    "sample": plot_sample,
    "spectrum": plot_spectrum,
    "trajectory jacobian": plot_given,
}.items():
    DRAW.register(_kind, _draw)
