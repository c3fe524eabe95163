"""Eigenvalues of the one-step Jacobian outside the bulk: weights of nonzero mean or with a low-rank part.

Theory.md (26). A part u vᵀ of gate k, with vectors that are independent of all else, has an outlier at every
z outside the bulk with 1 = (vᵀu) E[r_kk(z)], r of `rmtrnn.spectra.eigenvalues`. A mean μ_k/N of the entries
sees the sites: it shifts the mean of the pre-activation by μ_k E[ρ_k], ρ_k what the gate reads, and acts
together with w_k ρ_kᵀ/(N E[ρ_k²]), the known part of the weights that
have just read ρ_k, w_k = W_k ρ_k.

Source: Tao (2013, Probab. Theory Relat. Fields 155, 231); networks: Mastrogiuseppe and Ostojic (2018, Neuron
99, 609).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn._core.result import Result, stored
from rmtrnn._core.status import Status
from rmtrnn.cells import VanillaRNN
from rmtrnn.cells.classes import require_one_class
from rmtrnn.dyson.pencil import Stage
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield import mean_field, site_population
from rmtrnn.meanfield.one_step import OneStep
from rmtrnn.meanfield.shortfall import require_stationary
from rmtrnn.meanfield.site_process import SiteProcess, SobolStream, memory, seeds, sorted_by
from rmtrnn.numerics.fixed_point import fixed_point
from rmtrnn.spectra.eigenvalues import boundary, one_step


@dataclass(frozen=True)
class OutlierSettings:
    """Numbers of the searches; moved by three both ways in tests/spectra/test_outliers.py.

    ``points``: half the points of the curve around the bulk; ``starts``: angles and radii of the starting
    points of Newton's method; ``far``: spectral radius of the gain beyond which no outlier lies;
    ``difference``: relative step of its derivative, the cube root of rounding; ``least``: determinant of a
    site that counts as zero; ``equal``: relative distance of roots that are one; ``iterations`` of Newton's
    method and of the mean of the state; ``tol``: relative change of the mean that ends it.
    """

    points: int = 32
    starts: tuple[int, int] = (13, 6)
    far: float = 0.3
    difference: float = 1e-5
    least: float = 1e-20
    equal: float = 1e-5
    iterations: int = 60
    tol: float = 1e-6


SETTINGS = OutlierSettings()


@stored("outliers")
@dataclass(frozen=True, eq=False)
class Outliers(Result):
    """Outliers ``values`` (complex array, largest modulus first) of the one-step Jacobian.

    ``radius``: largest modulus of the bulk. ``ensemble``: the network without the low-rank part, whose bulk
    and spectra are those of the given one; its μ_b has the shift of the mean. ``error`` is that of the mean
    of the state; status INCONSISTENT where the winding number of the determinant around the bulk counts other
    roots.
    Made by `rmtrnn.outliers`.

    >>> linear = rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.5)
    >>> rt.outliers(linear, low_rank=1.5, sites=512).stable
    False
    """

    remedies: ClassVar[Mapping[Status, str]] = {
        Status.MAX_ITERATIONS: "the state may have no such mean: try a smaller mean=, or more sites=",
        Status.INCONSISTENT: "try more sites=",
    }

    ensemble: Ensemble
    values: np.ndarray
    radius: float
    error: float
    status: Status

    def __repr__(self) -> str:
        values = ", ".join(f"{value:.6g}" for value in np.real_if_close(self.values)) or "none"
        return f"<Outliers of {self.ensemble!r}: {values}; bulk to {self.radius:.6g}, {self.message}>"

    @property
    def stable(self) -> bool:
        """Whether all outliers have modulus below 1, so that the state does not leave along their vectors."""
        return bool(np.all(np.abs(self.values) < 1.0))


def outliers(
    ens: Ensemble,
    *,
    mean: float | Mapping[str, float] = 0.0,
    low_rank: complex | Sequence[complex] | Mapping[str, Any] = (),
    sites: int = 2**13,
    seed: int = 0,
    progress: bool | Report | None = None,
) -> Outliers:
    """Predict the eigenvalues of the one-step Jacobian outside the bulk, N → ∞.

    Parameters
    ----------
    ens : `Ensemble` in its stationary state: laws of W without the low-rank part
    mean : number, or mapping by gate
        μ: the entries of W_k have mean μ/N besides.
    low_rank : number or numbers, or mapping by gate
        Eigenvalues of a part u vᵀ that is added to W_k: those of vᵀu (r × r), complex ones in pairs. The
        vectors u, v are independent of all else, and sum to zero over the units. Not together with ``mean``.
    sites : power of two, at least 64, of the averages over sites; ``seed`` names them
    progress : None, True, or a callable ``report(done, total, label)``

    Outliers of modulus above 1 say that the state leaves along their vectors (`Outliers.stable`): the numbers
    hold for the state without them.

    Raises TypeError or ValueError for bad arguments; for ``mean`` also where biases are not normal, and for
    tied weights unless the cell is vanilla without σ_b: they are known on the whole past of the state.
    `ConvergenceError` if there is no stationary state.

    >>> found = rt.outliers(rt.Ensemble(rt.VanillaRNN("linear"), sigma_w=0.5), low_rank=0.8)
    >>> found.values.real.round(6).tolist(), round(found.radius, 6)
    ([0.8], 0.5)
    """
    _validate.instance("ens", ens, Ensemble)
    require_one_class(ens.cell, "rt.spectral_radius for the bulk, rt.sample for networks")
    gates = ens.cell.gates
    means = _numbers("mean", mean, gates)
    parts = _eigenvalues(low_rank, gates)
    if any(means.values()) and any(parts.values()):
        raise ValueError("low_rank: not together with mean; one part of W at a time")
    sites = _validate.power_of_two("sites", sites, low=64)
    with shown(progress):
        if any(means.values()) or not any(parts.values()):
            return _of_mean(ens, means, sites, seed)
        step = one_step(ens, sites=sites, seed=seed)
        conditions = [_Condition.of_gate(step, k, value) for k, g in enumerate(gates) for value in parts[g]]
        return _found(ens, step, conditions, 0.0, Status.CONVERGED)


def _numbers(name: str, value: Any, gates: Sequence[str]) -> dict[str, float]:
    given = value if isinstance(value, Mapping) else dict.fromkeys(gates, value)
    for gate in given:
        _validate.choice(f"gate of {name}", gate, gates)
    return {gate: _validate.real(f"{name}[{gate!r}]", given.get(gate, 0.0)) for gate in gates}


def _eigenvalues(value: Any, gates: Sequence[str]) -> dict[str, list[complex]]:
    given = value if isinstance(value, Mapping) else dict.fromkeys(gates, value)
    for gate in given:
        _validate.choice("gate of low_rank", gate, gates)
    found = {gate: [complex(one) for one in np.ravel(given.get(gate, ()))] for gate in gates}
    for gate, values in found.items():
        if not np.all(np.isfinite(values)) or not np.isclose(np.sum(values).imag if values else 0.0, 0.0):
            raise ValueError(f"low_rank[{gate!r}] = {values!r}: must be finite, complex ones in pairs")
    return found


class _Condition(NamedTuple):
    """det(1 − K(z)) with K = Σ_j z^j E[matrices_j/det(z − A)], ``matrices`` (s + 1, m, m, n)."""

    determinant: np.ndarray
    matrices: np.ndarray

    @classmethod
    def of_gate(cls, step: OneStep, gate: int, overlap: complex) -> _Condition:
        return cls(step.determinant, overlap * step.numerator[:, gate : gate + 1, gate : gate + 1])

    def gain(self, z: np.ndarray) -> np.ndarray:
        """K at z, (len(z), m, m)."""
        powers = z[:, None] ** np.arange(len(self.determinant))
        determinant = powers @ self.determinant
        inverse = 1.0 / np.where(np.abs(determinant) < SETTINGS.least, SETTINGS.least, determinant)
        s, m, _, n = self.matrices.shape
        means = (self.matrices.reshape(-1, n) @ inverse.T).reshape(s, m, m, len(z)) / n
        return np.einsum("zj,jabz->zab", powers[:, :s], means)

    def value(self, z: np.ndarray) -> np.ndarray:
        gain = self.gain(z)
        return np.linalg.det(np.eye(gain.shape[1]) - gain)


def _found(
    ens: Ensemble, step: OneStep, conditions: Sequence[_Condition], error: float, status: Status
) -> Outliers:
    curve = boundary(step, points=SETTINGS.points)
    radius = float(np.abs(curve).max())
    values: list[complex] = []
    for condition in conditions:
        roots = _roots(condition, step, radius)
        values += roots
        if len(roots) != _winding(condition, curve) and status is Status.CONVERGED:
            status = Status.INCONSISTENT
    order = sorted(values, key=lambda z: (-abs(z), -z.real, -z.imag))
    return Outliers(ens, np.array(order, dtype=complex), radius, error, status)


def _roots(condition: _Condition, step: OneStep, radius: float) -> list[complex]:
    """Roots of the determinant outside the bulk, by Newton's method from a net of points."""
    angles, radii = SETTINGS.starts
    directions = np.exp(1j * np.linspace(0.0, 2.0 * np.pi, angles)[:-1])
    inner = max(radius, 1e-3)
    outer = inner
    while np.abs(np.linalg.eigvals(condition.gain(outer * directions))).max() > SETTINGS.far:
        outer *= 2.0
    z = (np.geomspace(0.5 * inner, 2.0 * outer, radii)[:, None] * directions).ravel()
    for _ in range(SETTINGS.iterations):
        h = SETTINGS.difference * np.abs(z)
        here, slope = condition.value(z), (condition.value(z + h) - condition.value(z - h)) / (2.0 * h)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            move = here / slope
            z = z - move * np.minimum(1.0, 0.5 * np.abs(z) / np.abs(move))
        z = np.where(np.isfinite(z) & (z != 0.0), z, outer)
    good = (np.abs(condition.value(z)) < SETTINGS.equal) & (step.gain(z) < 1.0)
    roots: list[complex] = []
    for root in z[good]:
        if all(abs(root - other) > SETTINGS.equal * inner for other in roots):
            roots.append(complex(root.real, root.imag if abs(root.imag) > SETTINGS.equal * inner else 0.0))
    return roots


def _winding(condition: _Condition, curve: np.ndarray) -> int:
    """Number of roots outside a closed curve, which runs clockwise: the determinant is 1 at infinity."""
    values = condition.value(curve * (1.0 + SETTINGS.equal))
    turns = np.angle(np.roll(values, -1) / values).sum() / (2.0 * np.pi)
    return round(turns)


class _Sites(NamedTuple):
    """One stationary step: stages (1), what gates read ρ (K, n), and w = W ρ as far as e tells it (K, n)."""

    stages: list[Stage]
    reads: np.ndarray
    driven: np.ndarray


def _of_mean(ens: Ensemble, means: dict[str, float], sites: int, seed: int) -> Outliers:
    """Eq. (26), at the state whose mean is its own."""
    if not ens.has_normal_biases:
        raise ValueError(f"ens: bias_law = {ens.bias_law!r}; mean needs normal biases")
    is_memoryless = isinstance(ens.cell, VanillaRNN) and not any(ens.column("sigma_b").values())
    if ens.tied and not is_memoryless:
        raise ValueError(
            "ens: tied = True; with mean the weights are known on the whole past of the state, which is "
            "solved for vanilla cells with sigma_b = 0 only. Use low_rank, or ens.replace(tied=False)"
        )
    untied, base = ens.replace(tied=False), ens.column("mu_b")
    mu = np.array([means[gate] for gate in ens.cell.gates])

    def shifted(centre: np.ndarray) -> Ensemble:
        shift = zip(base.items(), mu * centre, strict=True)
        return untied.replace(mu_b={gate: value + more for (gate, value), more in shift})

    def centre_of(centre: np.ndarray, _: np.ndarray) -> np.ndarray:
        return (
            _stationary_step(shifted(centre[:, 0]), sites, seed).reads.mean(axis=1)[:, None]
            * (mu != 0.0)[:, None]
        )

    solved = fixed_point(centre_of, np.zeros((len(mu), 1)), SETTINGS.tol, max_iterations=SETTINGS.iterations)
    same = shifted(solved.value[:, 0])
    found = _stationary_step(same, sites, seed)
    step = OneStep(found.stages)
    square = np.maximum(np.mean(found.reads**2, axis=1), np.finfo(float).tiny)
    left = np.stack([np.ones_like(found.reads), found.reads])  # (2, K, n): s, t
    right = np.stack([np.broadcast_to(mu[:, None], found.reads.shape), found.driven / square[:, None]])
    matrices = np.einsum("jabn,pan,qbn->jpaqbn", step.numerator, left, right)
    size = 2 * len(mu)
    condition = _Condition(step.determinant, matrices.reshape(len(matrices), size, size, -1))
    status = Status(int(solved.status[0]))
    return _found(same.replace(tied=ens.tied), step, [condition], float(solved.error[0]), status)


def _stationary_step(ens: Ensemble, n: int, seed: int) -> _Sites:
    """One step of ``n`` stationary sites with untied weights, as `site_trajectory` makes it."""
    field = mean_field(ens)
    require_stationary(ens, field)
    population = site_population(ens, n, seed, field=field)
    process = SiteProcess(ens, n, seeds(seed, 12, 0))
    gates = len(ens.cell.gates)
    u = SobolStream(gates + 2, n, seeds(seed, 13, 0)).draw()
    order = sorted_by([population.state[i] for i in memory(ens.cell)], n)
    site = population.state[:, order[(u[-1] * n).astype(int)]]
    q = np.array([field.q_of(name) for name in ens.cell.gates])
    e, x = process.pre_activations(q, u[:gates], u[:gates]), ens.input_quantile(u[gates])
    stages, reads = [], np.zeros((gates, n))
    for stage, chosen, laws in zip(process.numeric.stages, process.slices, ens.cell.stages, strict=True):
        of = [ens.gate(gate.name) for gate in laws.gates]
        reads[chosen] = stage.read(site)
        linear = stage.linearize(site, x, e[chosen])
        stages.append(
            Stage(*linear, tuple(g.sigma_w**2 for g in of), tuple(g.weights == "orthogonal" for g in of))
        )
        site = stage.update(site, x, e[chosen])
    share = process.sigma_w**2 * np.mean(reads**2, axis=1) / np.maximum(q, np.finfo(float).tiny)
    return _Sites(stages, reads, share[:, None] * (e - process.mean[:, None]))
