"""Recursive Green function of a chain whose self-energies are low rank plus diagonal: theory.md (20)-(21).

The smooth parts U S U^T border the chain with the diagonal parts (`recursion`): with its response
Z = U^T (alpha, beta) to the sources U,

    log det = log det(chain) + log det(1 - Z S),      G = Z (1 - S Z)^{-1},      d log det/dS = -G.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn._core.parallel import thread_map
from rmtrnn.dyson.tied.chain import Chunk, Frame, TiedChain
from rmtrnn.dyson.tied.log_determinant import continued_log_det, log_det_border, log_det_modulo, wrapped
from rmtrnn.dyson.tied.recursion import Backward, Sources, own_responses, respond, riccati
from rmtrnn.dyson.tied.time_basis import SelfEnergy


@dataclass(frozen=True)
class Bordered:
    """Responses of the bordered chain at every site of a chunk; m = 2 K r + s_out columns.

    ``ports`` (n, m, 2K T): response of the ports to the smooth sources in the chain without border; ``full``
    the same with it. ``Z`` and ``G`` (n, m, m): response of the smooth ports and of x_L without and with
    border. ``own`` (n, 2K T): full response of every port to itself. ``log_det`` (n,) of the chain.
    """

    ports: np.ndarray
    full: np.ndarray
    Z: np.ndarray
    G: np.ndarray
    own: np.ndarray
    log_det: np.ndarray


def block_diagonal(energy: SelfEnergy, s_out: int) -> np.ndarray:
    """S of all self-energies as one matrix, with zeros at the columns of x_L."""
    r, families = energy.basis.r, len(energy.gauge)
    S = np.zeros((families * r + s_out,) * 2, dtype=complex)
    for f in range(families):
        S[f * r : (f + 1) * r, f * r : (f + 1) * r] = energy.S[f]
    return S


def smooth_response(
    chunk: Chunk, frame: Frame, energy: SelfEnergy, back: Backward
) -> tuple[np.ndarray, np.ndarray]:
    """The chain's ``ports`` and ``Z`` of `Bordered`."""
    ports, last = respond(chunk, frame, back, Sources.smooth(energy, chunk.s_out))
    families, steps, m, n = ports.shape
    ports = np.ascontiguousarray(ports.transpose(3, 2, 0, 1))  # (n, m, 2K, T)
    smooth = (ports.reshape(-1, steps) @ energy.basis.smooth.astype(complex)).reshape(n, m, -1)
    Z = np.concatenate([smooth, last.transpose(2, 1, 0)], axis=2)
    return ports.reshape(n, m, families * steps), 0.5 * (Z + np.swapaxes(Z, 1, 2))


def bordered(chunk: Chunk, frame: Frame, energy: SelfEnergy, back: Backward | None = None) -> Bordered:
    """All responses of one chunk: (20)-(21)."""
    back = riccati(chunk, frame) if back is None else back
    ports, Z = smooth_response(chunk, frame, energy, back)
    S = block_diagonal(energy, chunk.s_out)
    inner = np.linalg.inv(np.eye(len(S)) - Z @ S)
    full = inner @ ports
    own = own_responses(chunk, frame, back).reshape(-1, chunk.n).T
    own = own + np.einsum("nmt,nmt->nt", ports, S @ full)
    return Bordered(ports, full, Z, inner @ Z, own, back.log_det)


def site_log_det(chunk: Chunk, frame: Frame, energy: SelfEnergy, found: Bordered) -> np.ndarray:
    """log det (n,) of the bordered chain on the branch that is 0 at large lambda.

    Only the sum of the diagonal and the smooth part of a self-energy lies in the lower half plane. The branch
    is that of `SelfEnergy.lowered`, where each part does, followed along a straight line.
    """
    low = energy.lowered()
    K, width = chunk.matrices, 2 * chunk.matrices * energy.basis.r
    S, S_low = (block_diagonal(one, 0) for one in (energy, low))
    Z = found.Z[:, :width, :width]
    here = found.log_det + continued_log_det(Z, S, S_low)
    if np.array_equal(low.local, energy.local):
        return here
    below = replace(frame, y=low.local[:K], x=low.local[K:])
    back = riccati(chunk, below)
    _, Z_low = smooth_response(chunk, below, low, back)
    first = back.log_det + log_det_border(Z_low[:, :width, :width], S_low)
    straight = found.log_det + log_det_modulo(Z, S_low)
    return first + wrapped(straight - first) + continued_log_det(Z, S, S_low) - log_det_border(Z, S_low)


@dataclass(frozen=True)
class Averages:
    """E of the responses at one point.

    ``own`` (2K T,): of every port to itself; ``G`` (m, m): of the smooth ports and of x_L; ``own_lambda``,
    ``G_lambda``: their derivatives by log lambda at fixed self-energies. ``m`` = E s^2/(lambda - s^2) and
    ``m_lambda``. ``log_det`` (n,): log det at every site on the continuous branch, empty if not asked for.
    """

    own: np.ndarray
    G: np.ndarray
    own_lambda: np.ndarray
    G_lambda: np.ndarray
    m: complex
    m_lambda: complex
    log_det: np.ndarray


def averages(chain: TiedChain, energy: SelfEnergy, log_lambda: complex, *, log_det: bool = False) -> Averages:
    """First derivatives of E log det by the self-energies and by lambda, and log det itself."""
    frame = Frame.of(chain, energy, log_lambda)
    S = block_diagonal(energy, chain.s_out)
    width = len(S) - chain.s_out
    end = frame.end

    def part(chunk: Chunk) -> tuple[list[Any], np.ndarray]:
        found, w = bordered(chunk, frame, energy), chunk.weights
        columns, corner = found.G[:, :, width:], found.G[:, width:, width:]
        trace = complex(w @ np.einsum("nee->n", corner)) / chain.s_out
        square = complex(w @ np.einsum("nef,nfe->n", corner, corner)) / chain.s_out
        means = [
            w @ found.own,
            np.tensordot(w, found.G, 1),
            -end * np.einsum("n,net,net->t", w, found.full[:, width:], found.full[:, width:], optimize=True),
            -end * np.einsum("n,nie,nje->ij", w, columns, columns, optimize=True),
            end * trace,
            -end * trace - end**2 * square,
        ]
        if not log_det:
            return means, np.zeros(0)
        return means, site_log_det(chunk, frame, energy, found)

    parts = thread_map(part, chain.chunks(len(S)))
    means = [functools.reduce(np.add, column) for column in zip(*(one[0] for one in parts), strict=True)]
    own, G, own_lambda, G_lambda, m, m_lambda = means
    log_dets = np.concatenate([one[1] for one in parts])
    return Averages(own, G, own_lambda, G_lambda, m, m_lambda, log_dets)
