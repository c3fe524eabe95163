"""Random weight matrices: Gaussian, and Haar-distributed orthogonal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rmtrnn import _random, _validate

KINDS = ("gaussian", "orthogonal")
DTYPES = ("float32", "float64")


def random_matrix(
    kind: str,
    n: int,
    scale: float,
    rng: int | np.random.Generator | None = None,
    xp: Any = np,
    dtype: str = "float64",
) -> Any:
    """Return one n × n random matrix as an array of ``xp``.

    "gaussian": W_ij ~ N(0, scale²/n), independent. "orthogonal": W = scale·O, O Haar on O(n).
    Theory.md section 1 (``scale`` is σ_w).

    The normal deviates are drawn on the host, so that the matrix depends on the stream and not on the device.
    O is the Q factor of a Gaussian matrix with column j multiplied by the sign of R_jj (+1 for zero): the
    factor with a positive diagonal is unique, which makes its law Haar; Q as a library returns it is not.

    n ≥ 1; scale ≥ 0; dtype "float32" or "float64" (draws and QR are in float64, then rounded).
    Raises TypeError or ValueError otherwise.
    """
    _validate.choice("kind", kind, KINDS)
    _validate.choice("dtype", dtype, DTYPES)
    n = _validate.integer("n", n, low=1)
    scale = _validate.real("scale", scale, low=0.0)
    gaussian = _random.generator(rng).standard_normal((n, n))
    if kind == "gaussian":
        gaussian *= scale / math.sqrt(n)
        return xp.asarray(gaussian, dtype=dtype)
    q, r = xp.linalg.qr(xp.asarray(gaussian))
    signs = xp.where(xp.diagonal(r) < 0.0, -1.0, 1.0)
    q *= scale * signs
    return q.astype(dtype, copy=False)
