"""The subordination function of a free product, followed from far above the real axis down to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rmtrnn._core.status import ConvergenceError


def followed_down(
    residual: Callable[[np.ndarray, np.ndarray], np.ndarray],
    z: np.ndarray,
    start: Callable[[np.ndarray], np.ndarray],
    width: float,
    heights: Sequence[float],
) -> np.ndarray:
    """ω with residual(ω, z) = 0 in the upper half plane: plain steps far up, then Newton's method.

    ``heights`` above the real axis, in units of ``width``, fall to 0. Raises ConvergenceError.
    """
    omega = start(z + 1j * heights[0] * width)
    for level, height in enumerate(heights):
        at = z + 1j * height * width
        for _ in range(30 if level == 0 else 0):
            omega = omega + residual(omega, at)
        for _ in range(40):
            value = residual(omega, at)
            step = 1e-6 * np.maximum(np.imag(omega), 1e-3 * width)
            slope = (residual(omega + step, at) - residual(omega - step, at)) / (2.0 * step)
            with np.errstate(divide="ignore", invalid="ignore"):
                move = np.where(np.abs(value) > 0, value / slope, 0.0)
            # Stay in the half plane: at most nine tenths of the way down in one step.
            new = omega - move
            new = np.real(new) + 1j * np.maximum(np.imag(new), 0.1 * np.imag(omega))
            size = np.abs(omega) + width
            done = (np.abs(new - omega) <= 1e-12 * size) | (np.abs(value) <= 4e-15 * size)
            omega = new
            if np.all(done | (np.imag(omega) < 1e-14 * width)):
                break
    left = np.abs(residual(omega, z))
    deep = np.imag(omega) > 1e-9 * width
    if np.any(deep & (left > 1e-8 * (np.abs(omega) + width))):
        worst = int(np.argmax(np.where(deep, left, 0.0)))
        raise ConvergenceError(f"subordination at z = {z[worst]}: residual {left[worst]:.1e}")
    return omega
