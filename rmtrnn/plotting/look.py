"""The look of the pictures: palette, style, names of quantities, titles.

The palette is that of Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from cycler import cycler

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rmtrnn.ensemble import Ensemble
    from rmtrnn.spectra import Spectrum

# Okabe & Ito: black, vermillion, blue, bluish green, orange, sky blue, reddish purple, yellow.
PALETTE = ("#000000", "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#f0e442")
THEORY, SAMPLE, ATOM = PALETTE[1], PALETTE[5], PALETTE[2]

LN10 = math.log(10)
LOG_S = r"$\log_{10}\,s$"

_STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "font.size": 10,
    "legend.fontsize": 8,
    "legend.handlelength": 1.4,
    "legend.frameon": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "figure.figsize": (4.2, 3.0),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
}


def style() -> AbstractContextManager[None]:
    """The package's look: ``with rmtrnn.plotting.style(): ...`` around the making of a figure."""
    return plt.rc_context(_STYLE)


NAMES = {
    "sigma_w": r"$\sigma_w$",
    "sigma_v": r"$\sigma_v$",
    "mu_b": r"$\mu_b$",
    "sigma_b": r"$\sigma_b$",
    "chi": r"$\chi$",
    "chi_star": r"$\chi$ at $c^*$",
    "c_star": r"$c^*$",
    "timescale": r"time scale $\xi$ (steps)",
    "q": r"variance $q^*$ of the pre-activation",
    "Q": r"second moment $Q^*$ of the state",
}


def new_axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    with style():
        return plt.subplots()[1]


def spectrum_title(spec: Spectrum) -> str:
    """Cell, weight law, parameters and number of steps, in two short lines.

    ``spec``: a `Spectrum`.
    """
    return f"{ensemble_title(spec.ensemble)}, $T = {spec.T}$"


def ensemble_title(ens: Ensemble) -> str:
    """The ensemble in one or two short lines: cell, weight law, and the parameters that are not zero."""
    activation = getattr(ens.cell, "activation", None)
    cell = f"{ens.cell.name} {activation.name}" if activation is not None else ens.cell.name
    weights = ens.weights if isinstance(ens.weights, str) else "mixed weights"
    values = [
        f"{NAMES[name]} = {getattr(ens, name):.4g}"
        for name in ("sigma_w", "sigma_v", "mu_b", "sigma_b")
        if not isinstance(getattr(ens, name), Mapping) and getattr(ens, name) != 0
    ]
    tied = ", tied" if ens.tied else ""
    return f"{cell}, {weights}{tied}\n{', '.join(values)}"
