"""The pencil (12) with the self-energies (15), written out densely: slow, plain, for comparison only."""

from __future__ import annotations

import numpy as np
import scipy.linalg


def pencil(stages, steps, P, Q, log_lambda, site):
    """K0 - Sigma of one site: blocks x_0..x_L, then y_0..y_L; P, Q: T x T matrices by weight matrix."""
    sizes = [stages[0].a.shape[1]] + [stage.a.shape[0] for stage in stages]
    offset = np.concatenate([[0], np.cumsum(sizes)])
    total, length, per_step = offset[-1], len(stages), len(stages) // steps
    K = np.zeros((2 * total, 2 * total), dtype=complex)
    x = [slice(offset[i], offset[i + 1]) for i in range(length + 1)]
    y = [slice(total + offset[i], total + offset[i + 1]) for i in range(length + 1)]
    for i, size in enumerate(sizes):
        K[y[i], x[i]] = K[x[i], y[i]] = np.eye(size)
    for i, stage in enumerate(stages):
        a = stage.a[..., site]
        K[y[i + 1], x[i]] -= a
        K[x[i], y[i + 1]] -= a.T
    K[y[0], y[0]] -= np.eye(sizes[0])
    K[x[length], x[length]] -= np.eye(sizes[-1]) * np.exp(-log_lambda)
    matrix = 0
    for level in range(per_step):
        for j in range(len(stages[level].sigma2)):
            at = [t * per_step + level for t in range(steps)]
            for t, i in enumerate(at):
                for s, l in enumerate(at):
                    b, c = stages[i].b[j][:, site], stages[i].c[j][:, site]
                    b2, c2 = stages[l].b[j][:, site], stages[l].c[j][:, site]
                    K[y[i + 1], y[l + 1]] -= P[matrix][t, s] * np.outer(b, b2)
                    K[x[i], x[l]] -= Q[matrix][t, s] * np.outer(c, c2)
            matrix += 1
    return K, x, y


def log_det(stages, steps, P, Q, log_lambda, site):
    """log det(K0 - Sigma) up to a multiple of i pi."""
    K, _, _ = pencil(stages, steps, P, Q, log_lambda, site)
    sign, size = np.linalg.slogdet(K)
    return size + 1j * np.angle(sign)


def overlaps(stages, steps, P, Q, log_lambda, weights):
    """g, k of (15) as lists of T x T matrices, and m = E s^2/(lambda - s^2)."""
    per_step = len(stages) // steps
    owners = [(level, j) for level in range(per_step) for j in range(len(stages[level].sigma2))]
    g = [np.zeros((steps, steps), dtype=complex) for _ in owners]
    k = [np.zeros((steps, steps), dtype=complex) for _ in owners]
    resolvent = 0.0
    for site, weight in enumerate(weights):
        K, x, y = pencil(stages, steps, P, Q, log_lambda, site)
        G = np.linalg.inv(K)
        for matrix, (level, j) in enumerate(owners):
            at = [t * per_step + level for t in range(steps)]
            C = np.zeros((steps, len(G)))
            B = np.zeros((steps, len(G)))
            for t, i in enumerate(at):
                C[t, x[i]] = stages[i].c[j][:, site]
                B[t, y[i + 1]] = stages[i].b[j][:, site]
            g[matrix] += weight * C @ G @ C.T
            k[matrix] += weight * B @ G @ B.T
        resolvent = resolvent + weight * np.trace(G[y[-1], x[-1]]) / stages[-1].a.shape[0]
    return g, k, resolvent - 1.0


def solve(stages, steps, log_lambda, tolerance=1e-10, damping=0.5):
    """P, Q (matrices, T, T) and m that solve (15), by damped iteration with F of `factor`."""
    first = stages[: len(stages) // steps]
    sigma2 = [v for stage in first for v in stage.sigma2]
    haar = [v for stage in first for v in stage.orthogonal]
    weights = np.full(stages[0].a.shape[2], 1.0 / stages[0].a.shape[2])
    P = np.zeros((len(sigma2), steps, steps), dtype=complex)
    Q = np.zeros_like(P)
    for _ in range(5000):
        g, k, m = overlaps(stages, steps, P, Q, log_lambda, weights)
        new_p = np.array(
            [v * one @ factor(v * two @ one, h) for one, two, v, h in zip(g, k, sigma2, haar, strict=True)]
        )
        new_q = np.array(
            [v * two @ factor(v * one @ two, h) for one, two, v, h in zip(g, k, sigma2, haar, strict=True)]
        )
        change = max(np.abs(new_p - P).max(), np.abs(new_q - Q).max())
        P, Q = P + damping * (new_p - P), Q + damping * (new_q - Q)
        if change < tolerance:
            return P, Q, m
    raise RuntimeError("the damped iteration has not converged")


def factor(Z, haar):
    """F of (15) as a matrix function."""
    one = np.eye(len(Z))
    return 2.0 * np.linalg.inv(one + scipy.linalg.sqrtm(one + 4.0 * Z)) if haar else one
