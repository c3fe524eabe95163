"""Helpers of the spectra tests: chains of stages from a cell's own equations, and matrices of such chains."""

import numpy as np

from rmtrnn.dyson.pencil import Stage


def stages_of(cell, state, x, e, sigma, orthogonal=False):
    """Stages of one step at sites with given state (s, n), input (n,) and pre-activations {gate: (n,)}."""
    stages, site = [], np.asarray(state)
    for stage, numeric in zip(cell.stages, cell.numeric(np).stages, strict=True):
        names = [gate.name for gate in stage.gates]
        pre = np.stack([e[name] for name in names])
        a, b, c = numeric.linearize(site, x, pre)
        sigma2 = tuple(sigma[name] ** 2 for name in names)
        stages.append(Stage(a, b, c, sigma2, (orthogonal,) * len(names)))
        site = numeric.update(site, x, pre)
    return stages, site


def haar(n, rng):
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def matrix(stages, rng):
    """One draw of the Jacobian of a chain, sites as they stand: (s_L n, s_0 n)."""
    product = None
    for stage in stages:
        out, into, n = stage.a.shape
        sites = np.arange(n)
        dense = np.zeros((out, n, into, n))
        dense[:, sites, :, sites] = np.moveaxis(stage.a, 2, 0)
        for k, (sigma2, orthogonal) in enumerate(zip(stage.sigma2, stage.orthogonal, strict=True)):
            w = haar(n, rng) if orthogonal else rng.standard_normal((n, n)) / np.sqrt(n)
            dense += np.einsum("pi,ij,qj->piqj", stage.b[k], np.sqrt(sigma2) * w, stage.c[k])
        dense = dense.reshape(out * n, into * n)
        product = dense if product is None else dense @ product
    return product
