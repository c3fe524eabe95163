"""Random weight matrices: Gaussian, and Haar-distributed orthogonal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn.weight_laws import SingularValues

KINDS = ("gaussian", "orthogonal")
DTYPES = ("float32", "float64")
# Largest matrix whose deviates a CUDA device gets from the host.
HOST_DRAWN = 64


def random_matrix(
    kind: str | SingularValues,
    n: int,
    scale: float,
    rng: int | np.random.Generator | None = None,
    xp: Any = np,
    dtype: str = "float64",
) -> Any:
    """Return one n × n random matrix as an array of ``xp``.

    "gaussian": W_ij ~ N(0, scale²/n), independent. "orthogonal": W = scale·O, O Haar on O(n).
    Theory.md section 1 (``scale`` is σ_w). `SingularValues`: W = scale·U diag(s) Vᵀ, U and V Haar, s the
    quantiles of the law at (i + ½)/n.

    On the host the normal deviates come from ``rng``. On a CUDA device those of matrices above HOST_DRAWN are
    drawn there (Philox, seeded by 32 bits of ``rng``), which spares the transfer: the same stream gives the
    same matrix on the same kind of device, and another matrix of the same law elsewhere.

    O is the Q factor of a Gaussian matrix with column j multiplied by the sign of R_jj (+1 for zero): the
    factor with a positive diagonal is unique, which makes its law Haar; Q as a library returns it is not.

    n ≥ 1; scale ≥ 0; dtype "float32" or "float64" (draws and QR are in float64, then rounded).
    Raises TypeError or ValueError otherwise.
    """
    return random_matrices(kind, n, scale, [_random.generator(rng)], xp, dtype)[0]


def random_matrices(
    kind: str | SingularValues,
    n: int,
    scale: float,
    rngs: list[np.random.Generator],
    xp: Any = np,
    dtype: str = "float64",
) -> Any:
    """One `random_matrix` from every generator, (len(rngs), n, n).

    Up to n = HOST_DRAWN deviates come from the host on a device too, in one transfer for all.
    """
    law = kind if isinstance(kind, SingularValues) else None
    _validate.choice("kind", "orthogonal" if law else kind, KINDS)
    _validate.choice("dtype", dtype, DTYPES)
    n = _validate.integer("n", n, low=1)
    scale = _validate.real("scale", scale, low=0.0)
    gaussian = _standard_normal(rngs, n, xp)
    if kind == "gaussian":
        gaussian *= scale / math.sqrt(n)
        return gaussian.astype(dtype, copy=False)
    q, r = xp.linalg.qr(gaussian)
    signs = xp.where(xp.diagonal(r, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
    q *= scale * signs[:, None, :]
    if law is not None:
        right = random_matrices("orthogonal", n, 1.0, rngs, xp, "float64")
        q = xp.matmul(q * xp.asarray(law.quantiles(n)), right)
    return q.astype(dtype, copy=False)


def _standard_normal(rngs: list[np.random.Generator], n: int, xp: Any) -> Any:
    if xp is np or n <= HOST_DRAWN:
        drawn = np.empty((len(rngs), n, n))
        for rng, matrix in zip(rngs, drawn, strict=True):
            rng.standard_normal(out=matrix)
        return xp.asarray(drawn)
    # The size is given, since CuPy's streams else depend on how the device splits the work.
    seeds = [int(rng.integers(2**32)) for rng in rngs]
    drawn = [xp.random.Generator(xp.random.Philox4x3210(seed)).standard_normal(size=(n, n)) for seed in seeds]
    return drawn[0][None] if len(drawn) == 1 else xp.stack(drawn)
