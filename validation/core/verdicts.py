"""Rules that hold for the verdicts of every study."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from validation.core.model import Claim, Judged, Result, Verdict

# Parts of a result that hold laws which are meant to be wrong.
CONTROLS = ("control", "wrong")

BY_KNOWN_CASES = (
    "reproduced if all that can tell agree; with a difference if at least half of these do; not "
    "reproduced if fewer"
)
BY_CASES = f"{BY_KNOWN_CASES}; not decided if more than half cannot tell"


def by_cases(agree: Collection[str], differ: Collection[str], silent: Collection[str] = ()) -> Judged:
    """Judge by the rule `BY_CASES`: names of the cases that agree, that differ, that cannot tell."""
    known, count = len(agree) + len(differ), len(agree) + len(differ) + len(silent)
    if 2 * len(silent) > count or not count:
        return {"verdict": Verdict.UNDECIDED}
    if not differ:
        return {"verdict": Verdict.REPRODUCED}
    if 2 * len(agree) >= known:
        return {"verdict": Verdict.DIFFERENCE, "difference": f"not {', '.join(differ)}"}
    return {"verdict": Verdict.NOT_REPRODUCED}


def by_theories(rejected: int, right: int, count: int, difference: str) -> Judged:
    """Judge the paper's theory, which so many of ``count`` samples reject, beside one ``right`` for some.

    Reproduced if none rejects the paper's; with this ``difference`` if the other is right for at least half;
    else not reproduced.
    """
    if not rejected:
        return {"verdict": Verdict.REPRODUCED}
    if 2 * right < count:
        return {"verdict": Verdict.NOT_REPRODUCED}
    return {"verdict": Verdict.DIFFERENCE, "difference": difference}


def unconverged(results: dict[str, Result], prefixes: tuple[str, ...] = ()) -> list[str]:
    """Keys of the cases with a law or a field that says ``converged: False``; controls do not count."""
    return [
        key
        for key, (meta, _) in results.items()
        if (not prefixes or key.startswith(prefixes)) and _some_unconverged(meta)
    ]


def _some_unconverged(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("converged") is False or any(
            _some_unconverged(part) for name, part in value.items() if name not in CONTROLS
        )
    return isinstance(value, list) and any(map(_some_unconverged, value))


def judged(claims: list[Claim], results: dict[str, Result]) -> list[Claim]:
    """The claims, none of them "reproduced" that rests on a law that is not converged."""
    kept = []
    for claim in claims:
        missing = unconverged(results, claim.cases)
        if claim.verdict == Verdict.REPRODUCED and missing:
            reason = f"{claim.reason}. Not decided: not converged in {', '.join(missing)}"
            claim = replace(claim, verdict=Verdict.UNDECIDED, reason=reason)
        kept.append(claim)
    return kept
