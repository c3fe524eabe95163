"""The rules by which the study judges: one place for the report, the claims and the figures."""

from __future__ import annotations

from typing import Any

LIMIT = {"quick": 0.03, "standard": 0.01}  # of the Kolmogorov distance
NOISES = 3.0  # a wrong law is rejected beyond so many times the noise of the sample

RULES = """\
Rules. **Within**: the Kolmogorov distance of the pooled sample from the law is below {limit:g}, and so is
the error that the law states of its own distribution function; where that error or the noise of the
sample is {limit:g} or more, the case is **undecided**; else it is **beyond**. Nothing is allowed for the
finite N, whose bias is of the order of 1/N. *Noise* is the distance that the pooled sample is expected to
have from a right law, from the spread of its trials; it falls as 1/√(N · trials), since the gates of a
network are a sample of N sites. A *wrong law* (the one of untied weights for tied ones and the reverse,
weights wider by a tenth, free factors) is **rejected** if its distance from the sample exceeds {limit:g}
and {noises:g} times the noise. Where it differs from the theory by less than {twice:g}, a sample within
{limit:g} of the theory need not reject it, and "too close" is written.
"""


def rules(limit: float) -> str:
    """`RULES` with the numbers."""
    return RULES.format(limit=limit, twice=2 * limit, noises=NOISES)


def of_theory(meta: dict[str, Any], limit: float) -> str:
    """ "within", "beyond", "undecided" or "not converged"."""
    theory = meta["theory"]
    if not theory["converged"]:
        return "not converged"
    if theory["cdf error"] >= limit or meta["noise"] >= limit:
        return "undecided"
    return "within" if theory["distance"] < limit else "beyond"


def of_wrong(meta: dict[str, Any], name: str, limit: float) -> str:
    """ "rejected", "too close", "NOT rejected" or "not converged"."""
    wrong = meta["wrong"][name]
    if not wrong["converged"] or "apart" not in wrong:
        return "not converged"
    if wrong["distance"] > max(limit, NOISES * meta["noise"]):
        return "rejected"
    return "too close" if wrong["apart"] < 2 * limit else "NOT rejected"
