"""Second derivatives of E log det by the coefficients of smooth self-energies: theory.md (21).

They are products of the responses of the bordered chain: of G, and of the response of the smooth ports to one
more source.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.tied.bordered_green import Bordered, block_diagonal, bordered
from rmtrnn.dyson.tied.chain import Chunk, Frame, TiedChain
from rmtrnn.dyson.tied.recursion import Backward, Sources, respond, riccati
from rmtrnn.dyson.tied.time_basis import SelfEnergy, TimeBasis

_DIFFERENCE = 1e-6  # of a diagonal coefficient, which is about 1 in its gauge


def curvature(chain: TiedChain, energy: SelfEnergy, log_lambda: complex) -> np.ndarray:
    """Second derivatives of E log det by the unknowns of ``energy`` (complex symmetric).

    Those by S are products of the responses at hand. Those by two diagonal coefficients are sums of squares
    of responses over all pairs of steps: from one source at every port where these are few, else by
    differences of first derivatives, so that the cost stays linear in T.
    """
    frame = Frame.of(chain, energy, log_lambda)
    width = 2 * chain.matrices * energy.basis.r + chain.s_out
    families, nd = len(energy.gauge), energy.basis.n_diagonal
    few = _few_ports(families * chain.steps, families * nd, width)

    def part(chunk: Chunk) -> np.ndarray:
        back = riccati(chunk, frame)
        found = bordered(chunk, frame, energy, back)
        second = smooth_curvature(energy, found.G, found.full, chunk.weights)
        if nd and few:
            response = _full_response(chunk, frame, back, energy, found, Sources.single(energy))
            put_diagonal(energy, second, squares_of(energy, response, chunk.weights))
        elif nd:
            put_diagonal(energy, second, _squares_by_differences(chunk, energy, log_lambda, chain, found))
        return second

    return np.sum(
        thread_map(part, chain.chunks(max(width, families * chain.steps if few and nd else 0))), axis=0
    )


def _few_ports(ports: int, coefficients: int, width: int) -> bool:
    """Whether one source at every port costs less than first derivatives for every diagonal coefficient."""
    return ports <= coefficients * width


def smooth_curvature(energy: SelfEnergy, G: np.ndarray, full: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Second derivatives of E log det, those by two diagonal coefficients left 0."""
    basis, families = energy.basis, len(energy.gauge)
    r, nd, size, T = basis.r, basis.n_diagonal, basis.size, basis.steps
    pairs = [slice(f * size + nd, (f + 1) * size) for f in range(families)]
    block = [slice(f * r, (f + 1) * r) for f in range(families)]
    second = np.zeros((families * size,) * 2, dtype=complex)
    for f in range(families):
        for g in range(f, families):
            M = G[:, block[f], block[g]]
            second[pairs[f], pairs[g]] = -pair_products(basis, _outer(M, weights))
            second[pairs[g], pairs[f]] = second[pairs[f], pairs[g]].T
        for g in range(families if nd else 0):
            responses = full[:, block[g], f * T : (f + 1) * T]
            gram = np.einsum("n,nit,njt->tij", weights, responses, responses, optimize=True)
            by = -(basis.diagonal.T @ gram[:, basis.rows, basis.columns]) * basis.share
            diagonal = slice(f * size, f * size + nd)
            second[diagonal, pairs[g]] = by
            second[pairs[g], diagonal] = by.T
    return second


def _outer(response: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """E M_ij M_kl as [i, j, k, l]."""
    n, rows, columns = response.shape
    flat = response.reshape(n, -1)
    return ((flat * weights[:, None]).T @ flat).reshape(rows, columns, rows, columns)


def pair_products(basis: TimeBasis, outer: np.ndarray) -> np.ndarray:
    """tr(M X M^T Y) for X, Y the symmetric units of the pairs of modes, from M_ij M_kl."""
    a, b = basis.rows[:, None], basis.columns[:, None]
    c, d = basis.rows[None], basis.columns[None]
    factor = 0.5 * basis.share[:, None] * basis.share[None]
    return factor * (outer[a, c, b, d] + outer[a, d, b, c])


def _full_response(
    chunk: Chunk, frame: Frame, back: Backward, energy: SelfEnergy, found: Bordered, sources: Sources
) -> np.ndarray:
    """Response (2K, T, width, n) of the bordered chain to ``sources`` at the ports."""
    response, _ = respond(chunk, frame, back, sources)
    families, steps, width, n = response.shape
    smooth = np.zeros((n, found.ports.shape[1], width), dtype=complex)
    for f in range(families):
        own = found.ports[:, :, f * steps : (f + 1) * steps]
        smooth[:, :, sources.columns[f]] = own @ sources.values[f].transpose(2, 0, 1)
    lifted = block_diagonal(energy, chunk.s_out) @ smooth
    border = np.swapaxes(found.full, 1, 2) @ lifted  # (n, 2K T, width)
    return response + border.reshape(n, families, steps, width).transpose(1, 2, 3, 0)


def squares_of(energy: SelfEnergy, response: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_ts D_ti D_sj E G_ts^2 between all families, from the responses (2K, T, 2K T, n) of all ports."""
    basis, families = energy.basis, len(energy.gauge)
    mean = (response**2 @ weights).reshape(families, basis.steps, families, basis.steps)
    found = np.einsum("ti,ftgs,sj->figj", basis.diagonal, mean, basis.diagonal, optimize=True)
    return found.reshape(families * basis.n_diagonal, -1)


def _squares_by_differences(
    chunk: Chunk, energy: SelfEnergy, log_lambda: complex, chain: TiedChain, here: Bordered
) -> np.ndarray:
    """The same from the change of the mean own responses with every diagonal coefficient."""
    basis, families = energy.basis, len(energy.gauge)
    nd, found = basis.n_diagonal, []
    for index in range(families * nd):
        d = energy.d.copy()
        d[divmod(index, nd)] += _DIFFERENCE
        moved = replace(energy, d=d)
        there = bordered(chunk, Frame.of(chain, moved, log_lambda), moved)
        change = chunk.weights @ (there.own - here.own) / _DIFFERENCE
        found.append((change.reshape(families, basis.steps) @ basis.diagonal).ravel())
    return 0.5 * (np.array(found) + np.array(found).T)


def put_diagonal(energy: SelfEnergy, second: np.ndarray, squares: np.ndarray) -> None:
    """Write minus ``squares`` to where ``second`` holds the derivatives by two diagonal coefficients."""
    nd, size, families = energy.basis.n_diagonal, energy.basis.size, len(energy.gauge)
    index = (np.arange(families)[:, None] * size + np.arange(nd)).ravel()
    second[np.ix_(index, index)] = -squares
