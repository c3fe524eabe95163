"""Critical initialisation: the closed form, the published values, and how near to an isometry it comes.

The closed form against a search that does not know it and against 30-digit quadrature; the published,
rounded scales; the table of the mean field against μ_b; the variance of s² after one step, sampled; m_1 and
the range of the singular values over many steps.
"""

from __future__ import annotations

from validation import core
from validation.paper.critical_initialisation import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="critical_initialisation",
    summary="closed form against root search, published scales, table against μ_b, one step, isometry in "
    "depth",
    cost={"quick": "about a minute of one core", "full": "not timed; some minutes"},
)
