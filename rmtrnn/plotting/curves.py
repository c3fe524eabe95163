"""Pictures of curves and maps: mean fields, phase diagrams, Lyapunov exponents, sensitivities, scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import CONFIDENCE
from rmtrnn.phase import PICTURED
from rmtrnn.plotting.look import LOG_S, NAMES, PALETTE, ensemble_title, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rmtrnn.comparison import Comparison
    from rmtrnn.initialisation.sensitivity import Sensitivity
    from rmtrnn.isometry_report import Isometry
    from rmtrnn.meanfield import MeanField
    from rmtrnn.phase import PhaseDiagram
    from rmtrnn.sampling.lyapunov import LyapunovSample
    from rmtrnn.spectra.lyapunov import LyapunovSpectrum
    from rmtrnn.spectra.outliers import Outliers
    from rmtrnn.spectra.singular_outliers import SingularOutliers

WIDE = 1e3  # ratio of variances beyond which their axis is logarithmic: at χ = 1 it is at most about T


def plot_phase_diagram(
    pd: PhaseDiagram, quantity: str = "chi", ax: Axes | None = None, **options: Any
) -> Axes:
    """Draw ``quantity`` of a phase diagram over its parameters, and the boundary of chaos χ = 1.

    pd : what `rmtrnn.phase_diagram` returned for one parameter (a line) or two (a map)
    quantity : "chi", "chi_star", "timescale", "q", "Q" or "c_star"
    options : passed to ``ax.plot`` or ``ax.pcolormesh``

    Points whose mean field did not converge stay blank. The time scale is drawn as its logarithm.
    """
    _validate.choice("quantity", quantity, PICTURED)
    if len(pd.axes) > 2:
        raise ValueError(f"pd: has the parameters {list(pd.axes)}; a picture needs one or two")
    if isinstance(getattr(pd, quantity), Mapping):
        raise ValueError(f"quantity = {quantity!r}: has several components here; draw 'chi' or 'timescale'")
    if len(pd.axes) == 1:
        return _phase_line(pd, quantity, new_axes(ax), options)
    (x_name, x), (y_name, y) = pd.axes.items()
    values = np.where(pd.converged, getattr(pd, quantity), np.nan)
    label = NAMES.get(quantity, quantity)
    if quantity == "timescale":
        values, label = np.log10(values), rf"$\log_{{10}}$ {label}"
        values = np.where(np.isfinite(values), values, np.nan)
    ax = new_axes(ax)
    mesh = ax.pcolormesh(
        x, y, values.T, **{"cmap": "viridis", "shading": "nearest", "rasterized": True} | options
    )
    ax.figure.colorbar(mesh, ax=ax, label=label)
    chi = np.where(pd.converged, pd.chi, np.nan)
    if np.nanmin(chi) < 1.0 < np.nanmax(chi):
        ax.contour(x, y, chi.T, levels=[1.0], colors=PALETTE[1], linewidths=1.6)
        ax.plot([], [], color=PALETTE[1], label=r"$\chi = 1$")
        ax.legend(loc="upper left")
    title = f"{pd.ensemble.cell.name}, {pd.theory} weights"
    ax.set(xlabel=NAMES.get(x_name, x_name), ylabel=NAMES.get(y_name, y_name), title=title)
    return ax


def _phase_line(pd: PhaseDiagram, quantity: str, ax: Axes, options: dict[str, Any]) -> Axes:
    """The quantity against the only parameter."""
    ((name, x),) = pd.axes.items()
    ax.plot(x, np.where(pd.converged, getattr(pd, quantity), np.nan), **options)
    if quantity in ("chi", "chi_star"):
        ax.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
    if quantity == "timescale":
        ax.set_yscale("log")
    title = f"{pd.ensemble.cell.name}, {pd.theory} weights"
    ax.set(xlabel=NAMES.get(name, name), ylabel=NAMES.get(quantity, quantity), title=title)
    return ax


def plot_mean_field(mf: MeanField, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw what a mean field knows: its trajectories if it has some, else autocovariances, else Q and q.

    mf : what `rmtrnn.mean_field` returned. With ``steps=`` the correlation is drawn by `plot_correlation`; a
        tied network's autocovariances, divided by the variances, against the lag; else Q of every state and q
        of every gate.
    options : passed to ``ax.plot``
    """
    if mf.c_t is not None:
        return plot_correlation(mf, ax, **options)
    ax = new_axes(ax)
    if mf.covariances:
        for name, values in mf.covariances.items():
            drawn: dict[str, Any] = {"label": name} | options
            ax.plot(values / (values[0] or 1.0), **drawn)
        ax.legend(loc="upper right")
        ax.set(xlabel="lag (steps)", ylabel="autocovariance / variance")
    else:
        rows = {f"{letter} {name}".strip(): value for letter in "Qq" for name, value in _parts(mf, letter)}
        points: dict[str, Any] = {"ls": "", "marker": "o"} | options
        ax.plot(list(rows), list(rows.values()), **points)
        ax.set(ylabel="stationary second moment", ylim=(0.0, None))
    ax.set_title(f"{ensemble_title(mf.ensemble)}; χ = {mf.chi:.4g}")
    return ax


def _parts(mf: MeanField, quantity: str) -> list[tuple[str, float]]:
    value = getattr(mf, quantity)
    return list(value.items()) if isinstance(value, Mapping) else [("", value)]


def plot_correlation(mf: MeanField, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw the correlation c^t of two sequences against the step t, with its fixed point c* dashed.

    mf : what ``rmtrnn.mean_field(ens, steps=...)`` returned; ValueError if it holds no trajectories.
    options : passed to ``ax.plot``
    """
    if mf.c_t is None:
        raise ValueError("mf: holds no trajectories; call rmtrnn.mean_field(ens, steps=...) with steps ≥ 1")
    named = mf.c_t if isinstance(mf.c_t, Mapping) else {"": mf.c_t}
    fixed = mf.c_star if isinstance(mf.c_star, Mapping) else {"": mf.c_star}
    ax = new_axes(ax)
    for name, trajectory in named.items():
        symbol = f"c({name})" if name else "c"
        options["label"] = f"{symbol} at step t"
        (line,) = ax.plot(np.arange(len(trajectory)), trajectory, **options)
        ax.axhline(float(fixed[name]), color=line.get_color(), linestyle="--", linewidth=1.0)
    ax.plot([], [], color="0.3", linestyle="--", linewidth=1.0, label=r"fixed point $c^*$")
    ax.set(xlabel="step t", ylabel="correlation", title=ensemble_title(mf.ensemble))
    ax.legend(loc="lower right")
    return ax


def plot_lyapunov(result: LyapunovSpectrum | LyapunovSample, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw Lyapunov exponents against their rank over N, largest first: theory as a line, samples as circles.

    result : from ``rmtrnn.lyapunov`` or ``rmtrnn.sample_lyapunov``; draw both into one ``ax`` to compare them
    options : passed to ``ax.plot``
    """
    ax, numbers = new_axes(ax), cast(Any, result)
    if hasattr(result, "spectrum"):
        rank = np.linspace(0.0, 1.0, 501)[1:-1]
        drawn: dict[str, Any] = {"label": "theory"} | options
        ax.plot(rank, numbers.spectrum.icdf(1.0 - rank), **drawn)
    else:
        exponents = numbers.exponents.mean(axis=0)
        rank = (np.arange(len(exponents)) + 0.5) / numbers.size
        drawn = {"ls": "", "marker": "o", "mfc": "none", "label": "sample"} | options
        ax.plot(rank, exponents, **drawn)
    ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    title = "given network" if result.ensemble is None else ensemble_title(result.ensemble)
    ax.set(xlabel="rank / N", ylabel="exponent per step", title=title)
    ax.legend(loc="lower left")
    return ax


def plot_outliers(result: Outliers, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw outliers in the complex plane, the largest modulus of the bulk, and the unit circle of stability.

    result : from ``rmtrnn.outliers``
    options : passed to ``ax.plot`` of the outliers
    """
    ax, angle = new_axes(ax), 2.0 * np.pi * np.linspace(0.0, 1.0, 241)
    x, y = np.cos(angle), np.sin(angle)
    ax.plot(x, y, color="0.7", linewidth=0.8, zorder=0, label="|z| = 1")
    ax.plot(result.radius * x, result.radius * y, color=PALETTE[0], label="largest |z| of the bulk")
    drawn: dict[str, Any] = {"ls": "", "marker": "D", "color": PALETTE[1], "label": "outliers"} | options
    ax.plot(np.real(result.values), np.imag(result.values), **drawn)
    ax.set(xlabel="Re z", ylabel="Im z", title=ensemble_title(result.ensemble), aspect="equal")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_singular_outliers(result: SingularOutliers, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw singular values above the bulk on the axis of log s, and the range below the bulk's largest one.

    result : from ``rmtrnn.singular_outliers``
    options : passed to ``ax.plot`` of the outliers
    """
    ax, edge = new_axes(ax), float(np.log(result.edge))
    ax.axvline(edge, color=PALETTE[0], label="largest of the bulk")
    drawn: dict[str, Any] = {"ls": "", "marker": "D", "color": PALETTE[1], "label": "outliers"} | options
    u = np.log(result.values)
    ax.plot(u, np.zeros_like(u), **drawn)
    ax.set(xlabel=LOG_S, yticks=[], title=ensemble_title(result.ensemble))
    ax.set_xlim(edge - 1.0, float(np.max(u, initial=edge)) + 0.5)
    ax.legend(loc="upper left")
    return ax


def plot_sensitivity(
    profile: Sensitivity, ax: Axes | None = None, *, to: str = "input", band: bool = True, **options: Any
) -> Axes:
    """Draw the sensitivity of the state against the lag: root mean square, median, and the 5–95 % band.

    profile : from ``rmtrnn.sensitivity``, or ``rmtrnn.initialize(...).profile``
    ax : axes to draw on, else new ones
    to : "input" or "state"
    band : whether to draw the quantiles of the singular values
    options : passed to the line of the root mean square
    """
    side = getattr(profile, _validate.choice("to", to, ("input", "state")))
    ax, lag = new_axes(ax), np.arange(profile.T + 1)
    drawn: dict[str, Any] = {"label": "root mean square"} | options
    (line,) = ax.plot(lag, np.sqrt(side.mean_square), **drawn)
    if band:
        color = line.get_color()
        ax.plot(lag, side.typical, color=color, ls="--", lw=1.0, label="median singular value")
        ax.fill_between(lag, side.low, side.high, color=color, alpha=0.15, lw=0, label="5–95 %")
    ax.set(xlabel="lag $k$ (steps)", yscale="log", title=ensemble_title(profile.ensemble))
    earlier = {"input": "x", "state": "h"}[to]
    ax.set_ylabel(rf"size of $\partial h^T / \partial {earlier}^{{T-k}}$")
    ax.legend()
    return ax


def plot_isometry(report: Isometry, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw the variance of s² after t steps, t = 1, 2, 4, …, T, with its errors; the range of s is the title.

    At χ = 1 it grows as a straight line, theory.md (11); the axis is logarithmic where it grows faster.

    report : from ``rmtrnn.isometry``, or ``rmtrnn.critical(...).measure()``
    options : passed to ``ax.errorbar``
    """
    ax = new_axes(ax)
    steps, values, errors = np.array([(t, *variance) for t, variance in report.growth]).T
    drawn: dict[str, Any] = {"marker": "o", "label": "variance of $s^2$"} | options
    ax.errorbar(steps, values, yerr=np.nan_to_num(errors), **drawn)
    low, high = report.range
    ax.set(xlabel="steps $t$", ylabel="variance of $s^2$")
    if values.min() > 0.0 and values.max() > WIDE * values.min():
        ax.set_yscale("log")
    ax.set_title(
        f"{ensemble_title(report.ensemble)}\n90 % of s in [{low:.3g}, {high:.3g}] at $T = {report.T}$"
    )
    return ax


def plot_scores(report: Comparison, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw the modes of the test with their standard errors, and what it grants to a right theory.

    report : from ``rmtrnn.compare``. Modes that leave the band by more than their error bars speak against
        the theory; the p-value in the title takes all of them, and the number of trials, into account.
    options : passed to ``ax.errorbar``
    """
    ax = new_axes(ax)
    k = np.arange(1, len(report.modes) + 1)
    ax.axhspan(-report.allowance, report.allowance, color="0.9", zorder=0, label="allowance")
    drawn: dict[str, Any] = {"ls": "", "marker": "o", "capsize": 3.0, "label": "sample − theory"} | options
    ax.errorbar(k, report.modes, yerr=CONFIDENCE * report.mode_errors, **drawn)
    ax.set(xlabel="mode $k$", ylabel=r"mean of $\sum_j \cos(k\pi F(s_j))$")
    ax.set_title(f"theory and sample: {report.verdict}, p = {report.p_value:.2g}")
    ax.legend(loc="upper right")
    return ax
