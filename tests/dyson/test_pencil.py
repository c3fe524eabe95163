"""The pencil (12) as dense matrices at every site, inverted by NumPy, against the laws of the package."""

import itertools

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn.meanfield import site_trajectory

MINIMAL = {"sigma_w": 3.0, "sigma_v": 1.2, "mu_b": 2.0, "R": 0.46}
GRU = {"sigma_w": 1.5, "sigma_v": 0.8}


def gaussian(z):
    return 1.0


def haar(z):
    return (np.sqrt(1 + 4 * z) - 1) / (2 * z)


def pencil(stages, lam):
    """K_0 of (12) at every site (n, d, d), and the slices of x_l and y_l."""
    sizes = [stages[0].a.shape[1], *(stage.a.shape[0] for stage in stages)]
    ends = np.cumsum([0, *sizes, *sizes])
    places = [slice(*pair) for pair in itertools.pairwise(ends)]
    x, y = places[: len(sizes)], places[len(sizes) :]
    k_0 = np.zeros((stages[0].a.shape[2], ends[-1], ends[-1]), dtype=complex)
    for at_x, at_y, size in zip(x, y, sizes, strict=True):
        k_0[:, at_y, at_x] = k_0[:, at_x, at_y] = np.eye(size)
    for stage, before, at_y in zip(stages, x, y[1:], strict=False):
        k_0[:, at_y, before] = -stage.a.transpose(2, 0, 1)
        k_0[:, before, at_y] = -stage.a.transpose(2, 1, 0)
    k_0[:, y[0], y[0]] = -np.eye(sizes[0])
    k_0[:, x[-1], x[-1]] = -np.eye(sizes[-1]) / lam
    return k_0, x, y


def resolvent(stages, sigma2, weight_function, lam):
    """E[1/(lambda - s^2)] by damped iteration of (13), and (14)."""
    k_0, x, y = pencil(stages, lam)
    gates = [(l, k) for l, stage in enumerate(stages) for k in range(len(stage.b))]
    g, k_y = np.full(len(gates), 1 / lam), np.full(len(gates), 1 / lam)
    for _ in range(400):
        k_minus_s = k_0.copy()
        for (l, k), sigma, at_x, at_y in zip(gates, sigma2, g, k_y, strict=True):
            factor = sigma * weight_function(sigma * at_x * at_y)
            b, c = stages[l].b[k].T, stages[l].c[k].T
            k_minus_s[:, y[l + 1], y[l + 1]] -= factor * at_x * b[:, :, None] * b[:, None, :]
            k_minus_s[:, x[l], x[l]] -= factor * at_y * c[:, :, None] * c[:, None, :]
        green = np.linalg.inv(k_minus_s)
        new_g, new_k = np.empty_like(g), np.empty_like(k_y)
        for i, (l, k) in enumerate(gates):
            new_g[i] = np.einsum("in,nij,jn->n", stages[l].c[k], green[:, x[l], x[l]], stages[l].c[k]).mean()
            at_y = green[:, y[l + 1], y[l + 1]]
            new_k[i] = np.einsum("in,nij,jn->n", stages[l].b[k], at_y, stages[l].b[k]).mean()
        change = np.abs(new_g - g).max() + np.abs(new_k - k_y).max()
        g, k_y = (g + new_g) / 2, (k_y + new_k) / 2
        if change < 1e-10:
            size = stages[-1].a.shape[0]
            return np.trace(green[:, y[-1], x[-1]].mean(axis=0)) / (size * lam)
    raise AssertionError(f"no solution: last change {change:.1e}")


@pytest.mark.parametrize("weights", ["gaussian", pytest.param("orthogonal", marks=pytest.mark.sweep)])
@pytest.mark.parametrize(("cell", "parameters", "T"), [("minimal", MINIMAL, 2), ("gru", GRU, 1)])
@pytest.mark.equation(12, 13, 14)
def test_laws_have_the_resolvent_of_the_dense_pencil(cell, parameters, T, weights):
    """Two independent populations of sites differ by about 1e-3; the other weight law by 1e-2 and more."""
    ens = rt.Ensemble(cell, **parameters, weights=weights)
    spec = rt.spectrum(ens, T)
    stages = site_trajectory(ens, T, 4096, seed=5).stages
    sigma2 = [ens.gate(name).sigma_w ** 2 for name in ens.cell.gates] * T
    lam = spec.moment(1) * np.exp(0.5j)
    s = spec.icdf((np.arange(4000) + 0.5) / 4000)
    of_law = lam * np.mean(1 / (lam - s**2))
    right, wrong = (gaussian, haar) if weights == "gaussian" else (haar, gaussian)
    errors = [abs(lam * resolvent(stages, sigma2, each, lam) - of_law) for each in (right, wrong)]
    assert errors[0] < 3e-3
    assert errors[1] > 1e-2, "the other weight law must not fit"
