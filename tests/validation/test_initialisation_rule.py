"""Who wins in the initialisation study: the rule on numbers made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from validation.initialisation import cases, findings


def pair(**steps: list[int]) -> dict[str, Any]:
    """A record with these steps to the target; 0: the arm does not exist."""
    arms = {name: {"steps": own} if own else {"missing": "no gate"} for name, own in steps.items()}
    return {"arms": arms, "margin": cases.RULE.margin, "settings": {"steps": 800}}


PAIRS = [
    ("first", pair(initialize=[110, 90, 100, 300, 80], chrono=[100, 95, 120, 91, 99])),
    ("first", pair(initialize=[100, 100, 100, -1, -1], chrono=[-1, -1, -1, 20, 20])),
    ("first", pair(initialize=[108] * 5, chrono=[99] * 5, default=[])),
    ("later", pair(initialize=[110] * 5, chrono=[99] * 5)),
    ("fails", pair(initialize=[50, 50, -1, -1, -1], chrono=[700] * 5)),
    ("undecided", pair(initialize=[50, 50, -1, -1, -1], chrono=[-1] * 5)),
]


@pytest.mark.parametrize(("wanted", "meta"), PAIRS, ids=[str(k) for k in range(len(PAIRS))])
def test_verdicts(wanted: str, meta: dict[str, Any]) -> None:
    assert findings.verdict(meta) == wanted


def test_sentences_say_what_the_verdict_is() -> None:
    found = [findings.sentence("adding 100 gru", meta) for _, meta in PAIRS]
    assert "needs 100 steps, within 10 % of chrono with 99" in found[0]
    assert "alone learns, in 100 steps" in found[1]
    assert "needs 108 steps, within 10 % of chrono with 99" in found[2]
    assert "needs 110 steps, 11 % behind chrono with 99" in found[3]
    assert "fails within 800 steps (2 of 5 seeds reach the target); chrono needs 700" in found[4]
    assert "no initialisation learns within 800 steps (single seeds do: initialize 2)" in found[5]


def test_the_standard_size_has_all_pairs() -> None:
    listed = cases.list_cases("standard")
    assert len({case.key for case in listed}) == 4 * 8 == len(listed)
    assert all(case.settings["seeds"] == 5 and case.settings["N"] == 128 for case in listed)
    seeds = range(cases.FIRST, cases.FIRST + cases.RULE.seeds)
    assert cases.SEARCH not in seeds


def test_entries_show_how_many_seeds_learn() -> None:
    arms = PAIRS[4][1]["arms"]
    assert findings._entry(arms["initialize"]) == "not (2 of 5)"
    assert findings._entry(arms["chrono"]) == "700"
    assert findings._entry({"missing": "no gate"}) == "–"
    assert np.isinf(findings.median(arms["initialize"]))


def test_pictures_end_where_the_last_median_does() -> None:
    losses = np.array([[[3.0, 2.0, 1.0, 1.0]] * 3, [[np.nan] * 4] * 3], dtype=np.float16)
    steps = np.array([20, 30, 40, 50])
    assert findings._last_change({"losses": losses[:1], "steps": steps}) == 40
    assert findings._last_change({"losses": losses[:1, :, 2:], "steps": steps[2:]}) == 50
    assert findings._last_change({"losses": losses, "steps": steps}) == 40
