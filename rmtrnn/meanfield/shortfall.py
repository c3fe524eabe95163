"""What a result that is built on a mean field takes over from one that did not converge.

Letters: Q, the second moment of the state; q, the variance of a pre-activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rmtrnn._core.status import ConvergenceError, Status
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.population import Estimate
from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.tied_field import TiedField

UNKNOWN = 1.0  # relative error of a field without an estimate, and the largest that is taken over


class Shortfall(NamedTuple):
    """Of a mean field: how it ended, a relative error of what is built on it, and why, in words.

    A converged mean field has the error 0: what remains is in the spread of the sites that it gives.
    """

    status: Status = Status.CONVERGED
    error: float = 0.0
    cause: str = ""


def shortfall_of(field: TiedField) -> Shortfall:
    """The shortfall of a tied field: the largest relative error of Q and q, and the residual.

    Both count, since the error is the spread of groups of sites that all stopped at that residual.
    """
    if field.status is Status.CONVERGED:
        return Shortfall()
    error = _relative([field.Q, field.q]) + field.residual
    error = min(error, UNKNOWN) if np.isfinite(error) else UNKNOWN
    why = f", {field.note}" if field.note else ""
    return Shortfall(
        field.status,
        error,
        f"the mean field did not converge (relative error {error:.1g}, residual {field.residual:.1g}{why})",
    )


def _relative(estimates: Sequence[Estimate]) -> float:
    """The largest error of the estimates relative to their values; exact zeros have none."""
    errors = [
        float(np.max(one.error / np.maximum(np.abs(one.value), np.finfo(float).tiny), initial=0.0))
        for one in estimates
    ]
    return max(errors)


def require_stationary(ens: Ensemble, field: MeanField | TiedField) -> None:
    """Raise `ConvergenceError` unless the field has converged: for numbers that carry no status."""
    if field.status is Status.CONVERGED:
        return
    note = f" ({field.note})" if field.note else ""
    raise ConvergenceError(
        f"{ens!r}: the mean field did not converge to a stationary state: {field.status.message}{note}"
    )
