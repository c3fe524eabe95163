"""The scripts of `validation.initialisation`: their rules on made-up rows, and one row each."""

import math

import pytest

from validation.core.rows import read_rows, write_rows
from validation.initialisation import library_plans, random_fixed


def test_rules_of_the_scan():
    within = {"meets": True, "scan meets": 3, "better": 1.2, "objective": -5.0, "objective of the scan": -4.0}
    assert random_fixed.decisive(within) == 1.2
    broken = within | {"meets": False, "scan meets": 0}
    assert random_fixed.decisive(broken) == 1.25
    assert random_fixed.decisive(broken | {"scan meets": 1}) == math.inf
    rows = [{"index": 0, "cell": "gru", "T": 5, "status": "CONVERGED"} | within, {"exception": "no"}]
    assert "2 problems, 1 exceptions; 1 CONVERGED" in random_fixed.summary(rows)
    assert "by more than 5 % in 1: 0 (gru, T = 5, CONVERGED, 1.2)" in random_fixed.summary(rows)


def test_rules_of_the_profile_and_of_the_recipes():
    side = {
        "profile": [1.0, 2.0],
        "error": [0.3, None],
        "networks": [1.0, 2.4],
        "error of networks": [0.4] * 2,
    }
    assert library_plans.score(side) == pytest.approx(1.0)
    made_up = [("plan", 1.0, 0.0), ("free plan", 3.0, 0.0)]
    made_up += [("a", 2.0, -1.0), ("b", 0.5, 0.0), ("c", 0.6, -0.01)]
    recipes = [{"name": name, "smallest": size, "slack": slack} for name, size, slack in made_up]
    best = library_plans.best_recipe(recipes)
    assert best is not None and best["name"] == "c"
    assert library_plans.best_recipe(recipes[:3]) is None
    recipes[4]["within bounds"] = False
    best = library_plans.best_recipe(recipes)
    assert best is not None and best["name"] == "b"


def test_rows_are_kept(tmp_path):
    path = tmp_path / "new" / "rows.json"
    assert read_rows(path) == []
    write_rows(path, [{"a": 1.5}, {"a": None}])
    assert read_rows(path) == [{"a": 1.5}, {"a": None}] and [one.name for one in path.parent.iterdir()] == [
        "rows.json"
    ]


@pytest.mark.sweep
def test_one_row_of_each():
    """minimalRNN: nothing that the scan or a recipe finds is better than the plan."""
    scanned = random_fixed.row(1)
    assert scanned["cell"] == "minimal" and random_fixed.decisive(scanned) <= random_fixed.ALLOWED
    row = library_plans.row("minimal", 10)
    best = library_plans.best_recipe(row["recipes"])
    assert best is not None and best["smallest"] < row["recipes"][0]["smallest"]
    assert row["same again"] and row["finite"] and "minimal" in library_plans.summary([row])
