"""Scrambled Sobol points behind what tells sites apart over a window of steps: theory.md (18).

The pre-activation e of a gate is Gaussian, and over a window its slowest modes carry most of what differs
between sites. With modes V of the window, y = V^T e and A = Cov(e, y), M = Cov(y, y) = L L^T,

    e + A L^{-T} (z - L^{-1} y),    z standard normal and independent of e,

has the law of e on the whole period (Matheron's rule: what is left of e beside y is independent of y). Here z
comes from scrambled Sobol points, ordered by the variance of the modes (Acworth, Broadie and Glasserman 1998,
A comparison of some Monte Carlo and quasi Monte Carlo techniques for option pricing). So averages over the
sites of a window are those of a net, and the first 2^k of the first window are a net as well.

Letters: T, steps of a window; d, modes of one gate; n, sites of a group; A, L, M, V, y and z as above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from rmtrnn._core import random as _random
from rmtrnn.meanfield.periodic_process import GROUPS, PeriodicSites, Spectra
from rmtrnn.meanfield.site_process import SobolStream


@dataclass(frozen=True)
class NetSettings:
    """Dimensions of the net. Empirical: the law of a site depends on none of them, its averages scatter."""

    # Modes of a gate, and steps of the input.
    modes: int = 16
    inputs: int = 32
    # Variance, relative to the largest, of modes that are left alone. Derived: rounding of a spectrum.
    least: float = 1e-10


_NET = NetSettings()


@dataclass(frozen=True)
class WindowNets:
    """Sobol points of ``count`` windows of ``steps`` steps, at equal distances on a period, by group."""

    steps: int
    count: int
    points: np.ndarray  # (windows, GROUPS, dimensions, n), uniform

    @classmethod
    def draw(cls, gates: int, steps: int, count: int, per_group: int, seed: int) -> WindowNets:
        """``per_group``, n: a power of two. Windows after the first have their points in another order.

        Points of one place would depend on each other: all their scramblings keep the first digit.
        """
        rng = _random.stream(seed, 55)
        dimensions = gates * min(steps, _NET.modes) + min(steps, _NET.inputs)
        streams = [SobolStream(dimensions, per_group, rng) for _ in range(GROUPS)]
        points = np.array([[stream.draw() for stream in streams] for _ in range(count)])
        for window in range(1, count):
            for group in range(GROUPS):
                points[window, group] = points[window, group][:, rng.permutation(per_group)]
        return cls(steps, count, points)

    def impose(self, process: PeriodicSites, e: np.ndarray, values: Spectra, batch: int) -> None:
        """Give the pre-activations ``e`` (K, period, sites), and the inputs, their points, in place.

        ``batch``: which of the portions of n the sites are.
        """
        n, modes = process.per_group, min(self.steps, _NET.modes)
        here = self.points[..., batch * n : (batch + 1) * n]
        power = process.power_of_gates(values)
        centre = np.broadcast_to(
            process.readings.mean[:, None] + process.bias_deviations, (len(e), process.n)
        )
        for k, spectra in enumerate(power):
            z = ndtri(here[:, :, k :: len(power)][:, :, :modes])
            for group in range(GROUPS):
                own = spectra[group if len(spectra) > 1 else 0]
                sites = process.at(slice(group, group + 1))
                e[k, :, sites] += self._change(own, e[k, :, sites] - centre[k][..., sites], z[:, group])
        if not process.inputs[0].any():
            return
        first = len(power) * modes
        apart = process.period // self.count
        for window in range(self.count):
            x = process.ens.input_quantile(here[window, :, first:])
            place = window * apart + np.arange(x.shape[1])
            process.inputs[0][place] = x.transpose(1, 0, 2).reshape(len(place), -1)

    def _change(self, power: np.ndarray, e: np.ndarray, z: np.ndarray) -> np.ndarray:
        """What takes the modes of a centred ``e`` (period, n), of this power spectrum, to those of ``z``."""
        period, apart = len(e), len(e) // self.count
        basis = np.asarray(scipy.fft.idct(np.eye(self.steps, z.shape[1]), axis=0, norm="ortho"))
        covariance = np.fft.irfft(power, period)[: self.steps]
        lags = np.abs(np.subtract.outer(np.arange(self.steps), np.arange(self.steps)))
        variance, turn = np.linalg.eigh(basis.T @ covariance[lags] @ basis)
        used = np.flatnonzero(variance > _NET.least * max(variance[-1], 1e-300))[::-1]
        if used.size == 0:  # e is constant
            return np.zeros_like(e)
        basis = basis @ turn[:, used] / np.sqrt(variance[used])
        whole = np.zeros((period, self.count, used.size))
        for window in range(self.count):
            whole[window * apart : window * apart + self.steps, window] = basis
        whole = whole.reshape(period, -1)
        A = np.fft.irfft(power[:, None] * np.fft.rfft(whole, axis=0), period, axis=0)
        M = whole.T @ A
        L = np.linalg.cholesky(M + _NET.least * np.eye(len(M)))
        wanted = z[:, : used.size].reshape(len(M), -1)
        shift = wanted - solve_triangular(L, whole.T @ e, lower=True)
        return np.asarray(A @ solve_triangular(L, shift, lower=True, trans=1))
