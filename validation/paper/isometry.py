"""When the singular values of J_T count as near one, and what that says of dynamical isometry: both cells."""

from __future__ import annotations

import math

from validation import core

NEAR = (0.5, 2.0)
"""5–95 % of s lie in this band: a generous reading of an isometry, whose singular values are all 1."""

RULE = (
    f"near: 5–95 % of s lie in [{NEAR[0]:g}, {NEAR[1]:g}]. Reproduced if they do at the published point "
    "for every T; with a difference if, for the other T, they do at the critical point that "
    "`rmtrnn.critical` chooses for T; else not reproduced"
)


def near(low: float, high: float) -> bool:
    """Whether log s from ``low`` (5 %) to ``high`` (95 %) is inside `NEAR`."""
    return math.log(NEAR[0]) <= low and high <= math.log(NEAR[1])


def by_steps(published: dict[int, bool], chosen: dict[int, bool]) -> core.Judged:
    """Judge by `RULE`: whether s is near one, for each T, at the published and at the chosen point."""
    others = [T for T, found in sorted(published.items()) if not found]
    if not others:
        return {"verdict": core.Verdict.REPRODUCED}
    if all(chosen.get(T, False) for T in others):
        where = f"at T = {listed(others)} only where the critical point is chosen for T"
        return {"verdict": core.Verdict.DIFFERENCE, "difference": where}
    return {"verdict": core.Verdict.NOT_REPRODUCED}


def listed(steps: list[int]) -> str:
    """These T in words."""
    return ", ".join(map(str, sorted(steps))) or "none"
