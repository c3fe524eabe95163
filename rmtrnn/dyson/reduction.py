"""Chains of stages without dead dimensions: what no later stage reads, and what others determine.

A stage x_l = (a_l + Σ_k b_k W_k c_kᵀ) x_{l−1}, theory.md (1), writes into the span of the columns of a and
of all b_k, and reads through the span of the rows of a and of all c_k. Where such a span over all sites is
smaller than the state, as at a state that is zero, the pencil (12) is singular. In an orthonormal basis of
the span the singular values are the same. Only a smaller image of the last stage changes the law: it adds an
atom at s = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rmtrnn.dyson.pencil import Stage


class VanishingJacobian(ValueError):
    """A stage maps everything to zero at all sites: the law is an atom at s = 0."""


def block_of_jacobian(stages: Sequence[Stage], into: int, source: int) -> list[Stage]:
    """The chain of the N × N block ∂h_into/∂h_source of J: one state at the start, and one at the end."""
    found = list(stages)
    found[0] = replace(found[0], a=found[0].a[:, [source]], c=found[0].c[:, [source]])
    found[-1] = replace(found[-1], a=found[-1].a[[into]], b=found[-1].b[:, [into]])
    return found


def reduced(stages: Sequence[Stage]) -> list[Stage]:
    """The chain in the smallest state dimensions, with the same singular values but for exact zeros.

    Weight matrices that add nothing (σ = 0, b = 0 or c = 0) are left out. Raises `VanishingJacobian`.
    """
    chain = [without_idle_gates(stage) for stage in stages]
    while True:
        sizes = [stage.a.shape[:2] for stage in chain]
        for i in range(len(chain)):
            basis = _span(np.concatenate([chain[i].a.swapaxes(0, 1), chain[i].b]))
            if basis is not None:
                chain[i] = _writing(chain[i], basis)
                chain[i + 1 : i + 2] = [_reading(after, basis) for after in chain[i + 1 : i + 2]]
        for i in reversed(range(len(chain))):
            basis = _span(np.concatenate([chain[i].a, chain[i].c]))
            if basis is not None:
                chain[i] = _reading(chain[i], basis)
                if i:
                    chain[i - 1] = _writing(chain[i - 1], basis)
        chain = _merged([without_idle_gates(stage) for stage in chain])
        if [stage.a.shape[:2] for stage in chain] == sizes:
            return chain


def onto_the_smaller_state(stages: Sequence[Stage]) -> list[Stage]:
    """The chain of J, or that of Jᵀ where J goes from a smaller state to a larger one, untied weights.

    Both have the same singular values but for exact zeros, of which the chain from the larger to the smaller
    state has none; Wᵀ has the law of W.
    """
    if stages[0].a.shape[1] >= stages[-1].a.shape[0]:
        return list(stages)
    return [replace(stage, a=stage.a.swapaxes(0, 1), b=stage.c, c=stage.b) for stage in reversed(stages)]


def _merged(stages: Sequence[Stage]) -> list[Stage]:
    """Neighbours of which one has no weight matrix become one stage."""
    chain = [stages[0]]
    for stage in stages[1:]:
        before = chain[-1]
        if before.sigma2 and stage.sigma2:
            chain.append(stage)
            continue
        a = np.einsum("ijn,jkn->ikn", stage.a, before.a)
        if before.sigma2:
            chain[-1] = replace(before, a=a, b=np.einsum("ijn,kjn->kin", stage.a, before.b))
        else:
            chain[-1] = replace(stage, a=a, c=np.einsum("kin,ijn->kjn", stage.c, before.a))
    return chain


def without_idle_gates(stage: Stage) -> Stage:
    """The stage without weight matrices that add nothing: σ = 0, b = 0, or c = 0 (the gate reads nothing).

    Zero is what lies far below the rounding of all else, as near a state that has decayed to 1e-60.
    """
    parts = zip(stage.sigma2, stage.b, stage.c, strict=True)
    size = np.array([math.sqrt(v) * float(np.abs(b).max() * np.abs(c).max()) for v, b, c in parts])
    largest = max(float(np.abs(stage.a).max()), size.max(initial=0.0))
    used = np.flatnonzero(size > np.finfo(float).eps ** 3 * largest)
    if len(used) == len(stage.sigma2):
        return stage
    return Stage(
        stage.a,
        stage.b[used],
        stage.c[used],
        tuple(stage.sigma2[k] for k in used),
        tuple(stage.orthogonal[k] for k in used),
        tuple(stage.singular[k] for k in used),
    )


def _writing(stage: Stage, basis: np.ndarray) -> Stage:
    """The stage with its image in the coordinates of ``basis`` (s, r)."""
    return replace(stage, a=_apply(basis.T, stage.a), b=_apply(basis.T, stage.b, 1))


def _reading(stage: Stage, basis: np.ndarray) -> Stage:
    """The stage on a state in the coordinates of ``basis`` (s, r)."""
    return replace(stage, a=_apply(basis.T, stage.a, 1), c=_apply(basis.T, stage.c, 1))


def _apply(matrix: np.ndarray, values: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)


def _span(vectors: np.ndarray) -> np.ndarray | None:
    """Orthonormal basis (s, r) of the span over all sites of vectors (count, s, sites); None if r = s.

    Dimensions are compared after each is scaled to unit norm: they may differ by orders of magnitude.
    """
    s = vectors.shape[1]
    rows = np.moveaxis(vectors, 1, 0).reshape(s, -1)
    size = np.linalg.norm(rows, axis=1)
    live = np.flatnonzero(size)
    if not live.size:
        raise VanishingJacobian("the Jacobian vanishes at all sites")
    factor = np.asarray(np.linalg.qr(rows[live].T, mode="r")).T  # (live, live): the same span
    spread = np.linalg.svd(factor / size[live][:, None], compute_uv=False)
    rank = int(np.sum(spread > live.size * np.finfo(float).eps * np.sqrt(rows.shape[1]) * spread[0]))
    if rank == s:
        return None
    if rank == live.size:
        return np.eye(s)[:, live]
    basis = np.zeros((s, rank))
    basis[live] = np.linalg.svd(factor)[0][:, :rank]
    return basis
