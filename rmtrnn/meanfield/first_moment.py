"""The mean squared singular value, site by site: the recursion behind theory.md (6).

For untied weights the site-averaged B = J Jᵀ at a site obeys, stage by stage of theory.md (1),

    B' = a B aᵀ + Σ_k σ_k² g_k b_k b_kᵀ,      g_k = E[c_kᵀ B c_k],

with the mean over sites. For two replicas a, b, c on the left belong to one of them and on the right to the
other; then B is the slope of the overlaps instead.
"""

from __future__ import annotations

import numpy as np


def input_gain(B: np.ndarray, c: np.ndarray, c_: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """g_k (K,) from B (s, s, n) and c (K, s, n) of the two sides; ``weights`` (n,) sum to 1, else equal."""
    if weights is None:
        return np.einsum("kin,ijn,kjn->k", c, B, c_) / B.shape[-1]
    return np.einsum("kin,ijn,kjn,n->k", c, B, c_, weights, optimize=True)


def advance(
    B: np.ndarray, left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray], gain: np.ndarray
) -> np.ndarray:
    """B' (s', s', n) from the two sides' a (s', s, n) and b (K, s', n), and ``gain`` = σ_k² g_k (K,)."""
    (a, b), (a_, b_) = left, right
    carried = np.einsum("ijn,jln,mln->imn", a, B, a_, optimize=True)
    return carried + np.einsum("k,kin,kjn->ijn", gain, b, b_, optimize=True)
