"""Self-energies of tied weights as smooth functions of two times: theory.md (20), section 7.

The self-energies of (15) are, for each weight matrix, a T x T matrix between the steps. In a gauge where the
diagonal has modulus about 1 they are a smooth function of two times plus a smooth diagonal,

    Sigma_ts = e^{gamma_t + gamma_s} [delta_ts (D d)_t + (U S U^T)_ts],

D and U polynomials in time, orthonormal over the steps, S complex symmetric, gamma real and smooth. Psi is
stationary in the self-energies, so what this form misses of them enters the distribution function squared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

_GAUGE_DEGREE = 3  # of the polynomial in time that the logarithm of the diagonal is fitted with; empirical
_SMALLEST = 1e-150  # modulus: a diagonal below is that of a weight matrix that nothing goes through


@dataclass(frozen=True)
class TimeBasis:
    """Polynomials in time: ``diagonal`` (T, n_d) and ``smooth`` (T, r), mean square 1 over the steps.

    ``rows``, ``columns`` are the pairs i <= j of smooth modes, ``share`` 1 where i = j and 2 elsewhere.
    """

    diagonal: np.ndarray
    smooth: np.ndarray

    @classmethod
    def legendre(cls, steps: int, modes: int) -> TimeBasis:
        """``modes`` polynomials for each part; up to T = 2 ``modes`` all T x T matrices, and no diagonal.

        Beyond, the two parts are far from linearly dependent.
        """
        if steps <= 2 * modes:
            smooth = _orthonormal(steps, steps)
            return cls(np.zeros((steps, 0)), smooth)
        smooth = _orthonormal(steps, modes)
        return cls(smooth, smooth)

    @property
    def steps(self) -> int:
        return self.smooth.shape[0]

    @property
    def r(self) -> int:
        return self.smooth.shape[1]

    @property
    def n_diagonal(self) -> int:
        return self.diagonal.shape[1]

    @property
    def rows(self) -> np.ndarray:
        return np.triu_indices(self.r)[0]

    @property
    def columns(self) -> np.ndarray:
        return np.triu_indices(self.r)[1]

    @property
    def share(self) -> np.ndarray:
        return np.where(self.rows == self.columns, 1.0, 2.0)

    @property
    def size(self) -> int:
        """Unknowns of one self-energy of one weight matrix."""
        return self.n_diagonal + self.r * (self.r + 1) // 2


def _orthonormal(steps: int, count: int) -> np.ndarray:
    """Legendre polynomials of degree 0 .. count - 1 on the steps, orthogonalised."""
    grid = np.linspace(-1.0, 1.0, steps) if steps > 1 else np.zeros(1)
    q, r = np.linalg.qr(np.polynomial.legendre.legvander(grid, count - 1))
    return q * np.sign(np.diagonal(r)) * np.sqrt(steps)


@dataclass(frozen=True)
class SelfEnergy:
    """Self-energies of K weight matrices, first those of the y (P), then those of the x (Q).

    ``gauge`` (2K, T) is gamma, real; ``d`` (2K, n_d) and ``S`` (2K, r, r) the complex coefficients.
    """

    basis: TimeBasis
    gauge: np.ndarray
    d: np.ndarray
    S: np.ndarray

    @classmethod
    def from_diagonal(cls, basis: TimeBasis, log_diagonal: np.ndarray, phase: np.ndarray) -> SelfEnergy:
        """Diagonal self-energies exp(``log_diagonal``) (2K, T) with ``phase`` (2K,), in their gauge."""
        gauge = 0.5 * _smoothed(log_diagonal)
        families, r = len(gauge), basis.r
        d = np.zeros((families, basis.n_diagonal), dtype=complex)
        S = np.zeros((families, r, r), dtype=complex)
        if basis.n_diagonal:
            d[:, 0] = phase  # the first mode is constant
        else:
            S[:] = phase[:, None, None] * np.eye(r) / basis.steps
        return cls(basis, gauge, d, S)

    @property
    def matrices(self) -> int:
        return len(self.gauge) // 2

    @property
    def unknowns(self) -> np.ndarray:
        """Coefficients as one vector: for each self-energy d, then S on and above the diagonal."""
        upper = self.S[:, self.basis.rows, self.basis.columns]
        return np.concatenate([self.d, upper], axis=1).ravel()

    def with_unknowns(self, x: np.ndarray) -> SelfEnergy:
        """The same gauge with other coefficients."""
        basis = self.basis
        table = x.reshape(len(self.gauge), basis.size)
        S = np.zeros((len(table), basis.r, basis.r), dtype=complex)
        S[:, basis.rows, basis.columns] = table[:, basis.n_diagonal :]
        S[:, basis.columns, basis.rows] = table[:, basis.n_diagonal :]
        return replace(self, d=table[:, : basis.n_diagonal].astype(complex), S=S)

    @property
    def local(self) -> np.ndarray:
        """(D d)_t (2K, T): the diagonal part, in the gauge."""
        return self.d @ self.basis.diagonal.T

    def regauged(self) -> SelfEnergy:
        """In the gauge of its own diagonal; exact up to polynomials of higher degree, which are dropped."""
        U, D = self.basis.smooth, self.basis.diagonal
        diagonal = np.abs(self.local + np.einsum("ti,fij,tj->ft", U, self.S, U))
        shift = 0.5 * _smoothed(np.log(np.maximum(diagonal, _SMALLEST)))
        d, S = np.empty_like(self.d), np.empty_like(self.S)
        for family, factor in enumerate(np.exp(-shift)):
            M = U.T @ (factor[:, None] * U) / self.basis.steps
            S[family] = M @ self.S[family] @ M.T
            d[family] = (D.T @ (factor[:, None] ** 2 * D) / self.basis.steps) @ self.d[family]
        return SelfEnergy(self.basis, self.gauge + shift, d, S)

    def lowered(self) -> SelfEnergy:
        """The nearest coefficients for which both parts lie in the lower half plane, as their sum does.

        Logarithms are on the right branch there. Im d is shifted by a constant, Im S projected.
        """
        d, S = self.d.copy(), self.S.copy()
        if self.basis.n_diagonal:
            d[:, 0] -= 1j * np.maximum(np.imag(self.local).max(axis=1), 0.0) / self.basis.diagonal[0, 0]
        eigen, vectors = np.linalg.eigh(np.imag(S))
        S = np.real(S) + 1j * (vectors * np.minimum(eigen, 0.0)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        return replace(self, d=d, S=S)

    def turned(self, angle: float) -> SelfEnergy:
        """The self-energies of x, which are as 1/lambda at large lambda, at another arg lambda."""
        factor = np.where(np.arange(len(self.gauge)) < self.matrices, 1.0, np.exp(-1j * angle))
        return replace(self, d=factor[:, None] * self.d, S=factor[:, None, None] * self.S)

    def in_basis(self, basis: TimeBasis) -> SelfEnergy:
        """The same function of time in another basis (exactly, if that holds this one)."""
        steps = basis.steps
        M = basis.smooth.T @ self.basis.smooth / steps
        S = np.einsum("ij,fjk,lk->fil", M, self.S, M)
        d = self.d @ (self.basis.diagonal.T @ basis.diagonal) / steps
        if not basis.n_diagonal:
            S = S + np.einsum("ti,ft,tj->fij", basis.smooth, self.local, basis.smooth) / steps**2
        return SelfEnergy(basis, self.gauge, d, S)

    def dense(self) -> np.ndarray:
        """The T x T matrices (2K, T, T)."""
        U = self.basis.smooth
        inner = np.einsum("ti,fij,sj->fts", U, self.S, U)
        inner[:, np.arange(len(U)), np.arange(len(U))] += self.local
        factor = np.exp(self.gauge)
        return inner * factor[:, :, None] * factor[:, None, :]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Least-squares polynomial in time through each row."""
    U = _orthonormal(values.shape[1], min(values.shape[1], _GAUGE_DEGREE + 1))
    return values @ U @ U.T / len(U)
