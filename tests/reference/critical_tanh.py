"""Two thousand tanh steps at criticality, N = 48: the factors, and all log singular values of their product.

Run: python tests/reference/critical_tanh.py   (about four minutes)

writes critical_tanh.json. The product is formed in Arb's interval arithmetic with so many bits that 10^2230,
the range of its singular values, leaves more than enough; Cholesky sweeps G = L Lᵀ, G' = Lᵀ L of G = J Jᵀ
make it diagonal to ``SMALL`` relatively, and |log λ_i − log g_ii| follows from the largest entry left beside
the diagonal.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.sampling.random_matrices import random_matrix

N, STEPS, BITS, SMALL, LIMIT = 48, 2000, 24_000, 1e-30, 12
STORED = Path(__file__).with_name("critical_tanh.json")


def factors():
    """diag(1 − h²) W at σ_w = 1. States are rounded to six digits, so that they are the same everywhere."""
    rng = _random.stream(10)
    state, made = rng.standard_normal(N), []
    for _ in range(STEPS):
        w = random_matrix("gaussian", N, 1.0, rng)
        state = np.round(np.tanh(w @ state), 6)
        made.append((1 - state**2)[:, None] * w)
    return made


def digest(made):
    return hashlib.sha256(np.ascontiguousarray(made, dtype="<f8").tobytes()).hexdigest()


def gram(made):
    """J Jᵀ as lists of rows of arb."""
    import flint

    product = flint.arb_mat(made[0].tolist())
    for factor in made[1:]:
        product = flint.arb_mat(factor.tolist()) * product
    return (product * product.transpose()).tolist()


def cholesky(g):
    lower = [[None] * N for _ in range(N)]
    for j in range(N):
        for i in range(j, N):
            rest = g[i][j]
            for k in range(j):
                rest -= lower[i][k] * lower[j][k]
            lower[i][j] = rest.sqrt() if i == j else rest / lower[j][j]
    return lower


def swept(g):
    lower = cholesky(g)
    out = [[None] * N for _ in range(N)]
    for i in range(N):
        for j in range(i + 1):
            total = lower[i][i] * lower[i][j]
            for k in range(i + 1, N):
                total += lower[k][i] * lower[k][j]
            out[i][j] = out[j][i] = total
    return out


def coupling(g):
    """‖E‖ with G = D (1 + E) D: rows of |E| summed, the largest sum."""
    scale = [g[i][i].sqrt() for i in range(N)]
    return max(
        float(sum((abs(g[i][j]) / (scale[i] * scale[j])).upper() for j in range(N) if j != i))
        for i in range(N)
    )


def main():
    import flint

    flint.ctx.prec = BITS
    made = factors()
    g, sweeps = gram(made), 0
    while not coupling(g) < SMALL:
        g, sweeps = swept(g), sweeps + 1
        if sweeps > LIMIT:
            raise RuntimeError(f"not diagonal after {LIMIT} sweeps: {coupling(g)}")
    logs = sorted((g[i][i].log() / 2 for i in range(N)), key=lambda value: float(value.mid()))
    radius = max(float(value.rad()) for value in logs) + coupling(g)
    found = {"factors": digest(made), "sweeps": sweeps, "radius": radius, "bits": BITS}
    found["log_s"] = [value.mid().str(25, radius=False) for value in logs]
    STORED.write_text(json.dumps(found, indent=1) + "\n")
    print({key: value for key, value in found.items() if key != "log_s"})


if __name__ == "__main__":
    main()
