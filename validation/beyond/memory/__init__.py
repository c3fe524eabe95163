"""Memory of networks with tied weights, and critical points of cells beyond the paper.

Two questions. How long does the autocorrelation of a tied network last, by the two-time mean field and by one
simulated network, beside the untied time scale ξ? And where do cells turn critical at the zero fixed point
(no drive, no bias): for untied weights by χ = 1, for tied weights by the largest eigenvalue? The latter is
the stability condition of Can, Krishnamurthy and Schwab (2020) for GRU and LSTM. The gain criterion of
arXiv:2605.10650 is a closed form in the standard deviations of the gates' biases, from the linearisation at
the same fixed point; its formula was not at hand. What that linearisation gives by docs/theory.md (16) is
derived here (`gain`) and checked by eigenvalues of finite networks.
"""

from __future__ import annotations

from validation import core
from validation.beyond.memory import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="memory",
    summary="autocorrelation under tied weights beside the untied time scale; critical points of other cells",
    cost={"quick": "about a minute of one core", "standard": "about 10 minutes of one core"},
)
