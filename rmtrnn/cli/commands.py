"""The commands: settings in, an `Outcome` out. Nothing here prints but progress."""

from __future__ import annotations

import math
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import validate as _validate
from rmtrnn.cells import LIBRARY, Cell
from rmtrnn.cli import meaning, torch_lines
from rmtrnn.cli.cellfile import read_cell
from rmtrnn.cli.grammar import shown
from rmtrnn.cli.options import GRID, UsageError
from rmtrnn.phase import PICTURED

CELL_OPTIONS = {"activation": "vanilla", "peephole": "lstm", "reset_after": "gru"}


@dataclass(frozen=True)
class Outcome:
    """``record`` for --json; ``text`` for people; ``draw(ax)`` for --plot; ``problem`` if not converged;
    ``result`` for --save."""

    record: dict[str, Any]
    text: Mapping[str, Any] | str
    problem: str = ""
    draw: Callable[[Any], Any] | None = None
    result: Any = None

    def save(self, path: str) -> None:
        """Keep the result for `rmtrnn.load`."""
        if self.result is None:
            raise UsageError("--save: there is no result to keep")
        self.result.save(path)


def _cell(settings: dict[str, Any]) -> Cell:
    """The cell of the settings; what belongs to the cell is taken out of them."""
    if "cell" not in settings:
        raise UsageError(f"which cell? Give one of {', '.join(LIBRARY)} or a cell file")
    name = settings.pop("cell")
    options = {key: settings.pop(key) for key in CELL_OPTIONS if key in settings}
    for key in options:
        if CELL_OPTIONS[key] != name:
            raise UsageError(f"--{key.replace('_', '-')} belongs to the cell {CELL_OPTIONS[key]!r}")
    if name in LIBRARY:
        return LIBRARY[name](**options)
    try:
        exists = Path(name).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero byte in it
        exists = False
    if not exists:
        raise UsageError(
            f"cell {shown(name)}: neither one of {', '.join(LIBRARY)} nor a file"
            f"{meaning.meant(name, LIBRARY, meaning.CELLS)}"
        )
    return read_cell(name)


def _ensemble(settings: dict[str, Any], cell: Cell | None = None) -> rt.Ensemble:
    """The ensemble of the settings; its parameters are taken out of them."""
    cell = _cell(settings) if cell is None else cell
    names = (*GRID, "weights", "tied", "input_law")
    parameters = {name: settings.pop(name) for name in names if name in settings}
    for name, value in parameters.items():
        values = value.values() if isinstance(value, Mapping) else (value,)
        if any(isinstance(item, np.ndarray) for item in values):
            raise UsageError(f"{name}: a grid belongs to the command phase")
    return rt.Ensemble(cell, **parameters)


def _steps(settings: dict[str, Any]) -> int:
    if "T" not in settings:
        raise UsageError("how many steps? Give --T")
    return settings.pop("T")


def spectrum(settings: dict[str, Any], progress: Any) -> Outcome:
    points = settings.pop("points", None)
    options = {name: settings.pop(name) for name in ("method", "population", "tol", "Q0") if name in settings}
    ens, T = _ensemble(settings), _steps(settings)
    spec = rt.spectrum(ens, T, progress=progress, **options)
    record = spec.to_dict()
    if points is not None:
        record["density"] = _density(spec, _validate.integer("points", points, low=2, high=100000))
    text = {
        "spectrum": f"singular values s of J_T, T = {T}, method {spec.method}",
        "support of s": record["support"],
        "atoms (s, mass)": record["atoms"],
        "quantiles of s": record["quantiles"],
        "mean of s²": record["moments"]["1"],
        "variance of s²": record["variance"],
        "error of the cdf": spec.error,
        "status": spec.message,
    }
    return Outcome(record, text, "" if spec.converged else spec.message, spec.plot, spec)


def _density(spec: Any, points: int) -> dict[str, Any]:
    """The law of u = log s at evenly spaced quantiles of its continuous part."""
    p = (np.arange(points) + 0.5) / points
    u = np.unique(spec.log_s.icdf(p))
    u = u[np.isfinite(u)]
    return {"log_s": u, "pdf": spec.log_s.pdf(u), "cdf": spec.log_s.cdf(u)}


def mean_field(settings: dict[str, Any], progress: Any) -> Outcome:
    options = {name: settings.pop(name) for name in ("steps", "Q0", "C0", "sites") if name in settings}
    ens = _ensemble(settings)
    field = rt.mean_field(ens, progress=progress, **options)
    return Outcome(field.to_dict(), repr(field), "" if field.converged else field.message, field.plot, field)


def phase(settings: dict[str, Any], progress: Any) -> Outcome:
    quantity, jobs = settings.pop("quantity", "chi"), settings.pop("jobs", 1)
    if quantity not in PICTURED:
        hint = meaning.meant(quantity, PICTURED, meaning.QUANTITIES) or f"; known are {', '.join(PICTURED)}"
        raise UsageError(f"--quantity {shown(quantity)}: unknown{hint}")
    axes = _grids(settings)
    if not axes:
        raise UsageError("phase needs a grid: give a parameter as start:stop:count, such as --mu-b -4:8:60")
    ens = _ensemble(settings)
    with _workers(jobs) as executor:
        pd = rt.phase_diagram(ens, progress=progress, executor=executor, **axes)
    names = ("Q", "q", "c_star", "chi", "chi_star", "timescale", "status", "residual", "error")
    record = {"ensemble": ens.to_dict(), "theory": pd.theory, "axes": dict(pd.axes)}
    record |= {name: getattr(pd, name) for name in names}
    record["status_names"] = {str(int(status)): status.name.lower() for status in rt.Status}
    bad = int(np.sum(~pd.converged))
    problem = f"{bad} of {pd.converged.size} points did not converge (see status)" if bad else ""
    chi = pd.chi[pd.converged]
    text = {
        "phase diagram": " × ".join(f"{name} ({values.size})" for name, values in pd.axes.items()),
        "weights": pd.theory,
        "converged": f"{int(pd.converged.sum())} of {pd.converged.size} points",
        "chi": f"{chi.min():.6g} to {chi.max():.6g}" if chi.size else "nowhere",
        "chaotic (chi > 1)": f"{int((chi > 1).sum())} points",
    }
    return Outcome(record, text, problem, lambda ax: pd.plot(ax=ax, quantity=quantity), pd)


def _grids(settings: dict[str, Any]) -> dict[str, Any]:
    """The grids among the settings; their first point stays in the settings, for the ensemble."""
    axes: dict[str, Any] = {}
    for name in GRID:
        value = settings.get(name)
        if isinstance(value, np.ndarray):
            axes[name] = value
            settings[name] = float(value[0]) if value.size else math.nan
        elif isinstance(value, Mapping):
            grids = {gate: item for gate, item in value.items() if isinstance(item, np.ndarray)}
            if grids:
                axes[name] = grids
                settings[name] = dict(value) | {gate: float(item[0]) for gate, item in grids.items()}
    return axes


def critical(settings: dict[str, Any], progress: Any) -> Outcome:
    cell, T, full = _cell(settings), _steps(settings), settings.pop("spectrum", False)
    from rmtrnn.criticality.point import QUICK_STEPS, NoCriticalPointError

    try:
        point = rt.critical(cell, T, progress=progress, **settings)
    except NoCriticalPointError as error:
        record = {"T": T, "found": False, "side": error.side, "chi_range": error.chi, "message": str(error)}
        return Outcome(record, {"critical point": "none"}, str(error))
    draw = None
    if full or point.is_quick:
        point.measure(progress=progress)
        draw = lambda ax: rt.spectrum(point.ensemble, T).plot(ax=ax)  # noqa: E731
    text: dict[str, Any] = {
        "critical point": f"{point.method}, T = {T}",
        "ensemble": str(point.ensemble),
        "chi": f"{point.chi:.12g} ± {point.chi_error:.1g}",
        "time scale": f"{point.timescale:.6g} steps",
    }
    text |= {"note": point.message} if point.message else {}
    slow = f"not computed: slow for this cell at T > {QUICK_STEPS}; --spectrum does it"
    text["isometry"] = slow if point.measured is None else f"\n{point.measured}"
    problem = "" if point.converged else f"the mean field: {point.field.message}"
    return Outcome(_critical_record(point), text, problem, draw, point)


def _critical_record(point: rt.criticality.Critical) -> dict[str, Any]:
    field, found = point.field, point.measured
    measured = None if found is None else found.to_dict() | {"in_band": found.within(point.band)}
    return {
        "found": True,
        "ensemble": point.ensemble.to_dict(),
        "T": point.T,
        "method": point.method,
        "chi": point.chi,
        "chi_error": point.chi_error,
        "chi_star": point.chi_star,
        "timescale": point.timescale,
        "q": field.q,
        "Q": field.Q,
        "converged": point.converged,
        "message": point.message,
        "variance": None if found is None else found.variance.value,
        "condition_number": None if found is None else found.condition_number.value,
        "isometry": measured,
    }


def initialize(settings: dict[str, Any], progress: Any) -> Outcome:
    cell, T = _cell(settings), _steps(settings)
    names = ("mu_b", "sigma_w", "sigma_v", "sigma_b")
    fix = {name: settings.pop(name) for name in names if name in settings}
    as_torch = settings.pop("torch", False)
    if as_torch:
        torch_lines.check(rt.Ensemble(cell, weights=settings.get("weights", "orthogonal")))
    plan = rt.initialize(cell, T, fix=fix, progress=progress, **settings)
    problem = plan.message if plan.status is rt.Status.NO_SOLUTION else ""
    text = torch_lines.torch_lines(plan) if as_torch else str(plan)
    return Outcome(plan.to_dict(), text, problem, plan.plot, plan)


def sample(settings: dict[str, Any], progress: Any) -> Outcome:
    jobs = settings.pop("jobs", 1)
    compare = settings.pop("compare", False)
    names = ("N", "trials", "seed", "device", "dtype", "burn_in", "checkpoint", "Q0")
    options = {name: settings.pop(name) for name in names if name in settings}
    ens, T = _ensemble(settings), _steps(settings)
    with _workers(jobs) as executor:
        mc = rt.sample(ens, T, progress=progress, executor=executor, **options)
    record = mc.to_dict()
    moments, quantiles = record["moments"], record["log_quantiles"]
    text: dict[str, Any] = {"sample": f"{mc.trials} networks of {mc.N} units, T = {T}"}
    text |= {f"mean of s^{2 * int(k)}": f"{m['value']:.6g} ± {m['error']:.2g}" for k, m in moments.items()}
    text |= {
        f"{100 * float(p):g} % of log s": f"{q['value']:.6g} ± {q['error']:.2g}" for p, q in quantiles.items()
    }
    problem = ""
    theory = cache(lambda: rt.spectrum(ens, T, progress=progress, Q0=options.get("Q0")))
    if compare:
        spec = theory()
        report = rt.compare(spec, mc)
        keys = ("kolmogorov", "wasserstein", "p_value", "verdict")
        record["comparison"] = {key: getattr(report, key) for key in keys}
        text["comparison"] = "\n" + str(report)
        problem = "" if spec.converged else f"the theory: {spec.message}"

    def draw(ax: Any) -> Any:
        return rt.plotting.plot_comparison(theory(), mc, ax=ax)

    return Outcome(record, text, problem, draw, mc)


def _workers(jobs: Any) -> Any:
    """Processes, started anew rather than forked; none for one job."""
    jobs = _validate.integer("jobs", jobs, low=1, high=1024)
    return nullcontext() if jobs == 1 else ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def reproduce(arguments: list[str]) -> int:
    """Run ``python -m validation`` of the checkout that this package or the working folder belongs to."""
    for root in (Path.cwd(), Path(rt.__file__).resolve().parents[1]):
        if _is_checkout(root):
            command = [sys.executable, "-m", "validation", *arguments]
            return subprocess.run(command, cwd=root, check=False).returncode
    raise UsageError(
        "reproduce runs the studies in the folder validation/ of rmtrnn's source, which an installed package "
        "does not hold: clone the repository or unpack the source distribution, and run it inside that folder"
    )


def _is_checkout(root: Path) -> bool:
    project = root / "pyproject.toml"
    if not project.is_file() or not (root / "validation" / "__main__.py").is_file():
        return False
    try:
        return tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name") == "rmtrnn"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
