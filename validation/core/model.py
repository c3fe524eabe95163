"""What a study is: cases, their results, and what they say about the paper.

How to add a study
------------------
1. A module or package in ``validation/`` with ``STUDY = core.Study(...)``, named in ``STUDIES`` of
   ``validation/__main__.py``. Each `Case` is computed and saved on its own, so that a run can be stopped and
   resumed; ``report`` draws from what was saved, begins with ``save_data(folder, "data", results)`` and saves
   figures by ``save_figure`` (PNG and PDF) inside ``with rmtrnn.plotting.style():``.
2. What the study says about the paper is its ``claims(results) -> list[Claim]``. It is called with all cases
   of a size (never with a part), after ``report``; the answer is saved as ``claims.json`` beside the figures,
   and ``paper_figures/REPORT.md`` is put together from those files alone. So:

   - ``found`` and ``numbers`` are text formatted from ``results``: no number in them is typed in;
   - ``verdict`` is computed from the same numbers by a rule that ``reason`` states;
   - where a law is not converged, "reproduced" becomes "not decided" (`core.verdicts`);
   - a run too small to tell says `Verdict.UNDECIDED`; a study without a counterpart in the paper says
     nothing: it leaves ``claims`` out.

   For example::

       def claims(results):
           found = [meta["chi"] for meta, _ in results.values()]
           worst = max(abs(chi - 1.0) for chi in found)
           return [
               core.Claim(
                   item="Critical initialisation",
                   claim="The closed form makes the growth per step equal to one.",
                   found=f"largest |χ − 1| = {worst:.1e} over {len(found)} points",
                   verdict=core.Verdict.REPRODUCED if worst < 1e-10 else core.Verdict.NOT_REPRODUCED,
                   reason="reproduced if every χ is 1 to 1e-10",
                   figures=("critical",),
               )
           ]

   A rule can come out every way; a test shows it on made-up results. Where the evidence is a number of cases,
   the rule is `core.by_cases`.

3. Sizes: `SIZES`. A study lists those it has in ``cost``; the larger of quick and standard is the one that
   is committed. `destination` says where a run writes: a smaller size never replaces a larger one.
4. ``requires`` names packages beyond the core (``("torch",)``): a run of all studies passes over a study
   whose packages are missing and says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Required, TypedDict

import numpy as np

if TYPE_CHECKING:
    from validation.core.runner import Workers

# quick: every figure in minutes. standard: what 2 cores can do in about an hour, and what ``paper_figures``
# holds where a study has it. full: the sizes of the paper, as far as they are known.
SIZES = ("quick", "standard", "full")

Result = tuple[dict[str, Any], dict[str, np.ndarray]]


class Verdict(StrEnum):
    """What a run says about a claim of the paper."""

    REPRODUCED = "reproduced"
    DIFFERENCE = "reproduced with a difference"
    NOT_REPRODUCED = "not reproduced"
    UNDECIDED = "not decided by this run"


class Judged(TypedDict, total=False):
    """What a rule returns: the fields ``verdict`` and ``difference`` of a `Claim`."""

    verdict: Required[Verdict]
    difference: str


@dataclass(frozen=True)
class Claim:
    """One statement of the paper and what the run found; all fields go into ``paper_figures/REPORT.md``.

    item : where it stands, such as "Fig. 1" or "Abstract"
    claim : what the paper says, in our words
    found : what was found, in one phrase with its number; it stands on the first page of the report
    verdict : by the rule that ``reason`` states
    reason : that rule
    difference : what the difference is, where the verdict is `Verdict.DIFFERENCE`, and only there
    numbers : what else was found
    new : one sentence, with its numbers, where the finding goes beyond the paper
    figures : names (without ending) of the study's figures that show it
    cases : beginnings of the keys of the cases it rests on; none: all. A claim that rests on a law which is
        not converged is never `Verdict.REPRODUCED` (`validation.core.verdicts`).
    """

    item: str
    claim: str
    found: str
    verdict: Verdict
    reason: str
    difference: str = ""
    numbers: str = ""
    new: str = ""
    figures: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.verdict == Verdict.DIFFERENCE) != bool(self.difference):
            raise ValueError(f"difference = {self.difference!r}: the verdict is {str(self.verdict)!r}")


@dataclass(frozen=True)
class Case:
    """One computation: ``key`` names its file, ``settings`` (plain JSON types) what it depends on."""

    key: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A set of cases and the report made from them.

    ``cases(size)`` lists the cases; ``compute(case, workers)`` returns (meta, arrays) of one;
    ``report(results, size, folder)`` writes tables and figures from what was saved. ``cost`` says what each
    size takes, in words. ``claims(results)`` and ``requires``: see the top of this module. A ``draft``
    writes to ``build/figures`` unless a folder is given: newcomers run it, and their clone stays clean.
    ``long``: no one run makes all cases of the committed size. What ``paper_figures`` holds may be a part,
    from which ``--resume`` goes on in any clone; ``report`` and ``claims`` say which cases were not run.
    """

    name: str
    summary: str
    cost: dict[str, str]
    cases: Callable[[str], Sequence[Case]]
    compute: Callable[[Case, Workers], Result]
    report: Callable[[dict[str, Result], str, Path], None]
    claims: Callable[[dict[str, Result]], list[Claim]] | None = None
    requires: tuple[str, ...] = ()
    draft: bool = False
    long: bool = False

    @classmethod
    def of(cls, cases: Any, findings: Any, **texts: Any) -> Study:
        """Return the study of two modules: ``cases`` (list_cases, compute), ``findings`` (report, claims)."""
        return cls(
            cases=cases.list_cases,
            compute=cases.compute,
            report=findings.report,
            claims=getattr(findings, "claims", None),
            **texts,
        )

    @property
    def committed(self) -> str:
        """The size whose result belongs into `FIGURES`."""
        return "standard" if "standard" in self.cost else "quick"

    def missing(self) -> list[str]:
        """Names of required packages that are not installed."""
        return [name for name in self.requires if importlib.util.find_spec(name) is None]
