"""Every rule of a verdict comes out every way: on the stored results, with some of their numbers replaced."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest

from validation import __main__ as command
from validation import core
from validation.core import places
from validation.paper import isometry
from validation.paper.trainability import cases as cells
from validation.paper.trainability.findings import breadth

R, D, N, U = core.Verdict
Change = Callable[[dict[str, core.Result]], None]
AWAY, NEAR = {"rms": 1.0, "rms in errors": 50.0}, {"rms": 1e-4, "rms in errors": 1.0}


def verdict(study: str, text: str, change: Change) -> core.Verdict:
    """The verdict on the one claim with this text, where ``change`` was made to the stored results."""
    results = {
        key: (copy.deepcopy(meta), dict(arrays))
        for key, (meta, arrays) in core.load_data(places.FIGURES / study).items()
    }
    change(results)
    (found,) = [claim for claim in command.STUDIES[study].claims(results) if text in claim.claim]
    return found.verdict


def of(results: dict[str, core.Result], start: str, end: str = "") -> list[dict]:
    """The metas of the cases with this beginning and end."""
    return [meta for key, (meta, _) in results.items() if key.startswith(start) and key.endswith(end)]


@pytest.mark.parametrize(
    ("agree", "differ", "silent", "found"),
    [
        ("abc", "", "", R),
        ("abc", "", "def", R),
        ("abc", "", "defg", U),
        ("", "", "", U),
        ("ab", "cd", "", D),
        ("ab", "cde", "", N),
        ("", "a", "b", N),
    ],
)
def test_by_cases(agree, differ, silent, found):
    judged = core.by_cases(list(agree), list(differ), list(silent))
    assert judged["verdict"] == found
    assert judged.get("difference", "") == (f"not {', '.join(differ)}" if found == D else "")


def test_a_difference_is_named_and_nothing_else_has_one():
    for verdict in core.Verdict:
        with pytest.raises(ValueError, match="difference"):
            core.Claim("item", "claim", "found", verdict, "rule", "" if verdict == D else "another power")


@pytest.mark.parametrize(
    ("published", "chosen", "found"),
    [
        ({1: True, 10: True}, {}, R),
        ({1: True, 10: False}, {10: True}, D),
        ({1: True, 10: False}, {10: False}, N),
        ({1: True, 10: False}, {}, N),
    ],
)
def test_isometry(published, chosen, found):
    assert isometry.by_steps(published, chosen)["verdict"] == found
    assert isometry.near(-0.6, 0.6) and not isometry.near(-0.7, 0.6) and not isometry.near(-0.6, 0.7)


@pytest.mark.parametrize(
    ("away", "silent", "found"), [(0, 0, R), (0, 5, R), (0, 6, U), (5, 0, D), (6, 0, N), (10, 0, N)]
)
def test_figure_1_untied(away, silent, found):
    def change(results):
        own = of(results, "figure1", "-untied")
        assert len(own) == 10
        for k, meta in enumerate(own):
            meta["c distance"] = AWAY if k < away else NEAR
            meta["control"] = NEAR if k >= 10 - silent else AWAY

    assert verdict("mean_field_dynamics", "weights drawn anew", change) == found


@pytest.mark.parametrize(("papers", "ours", "found"), [(0, 3, R), (1, 5, D), (1, 6, N), (10, 0, D)])
def test_figure_1_tied(papers, ours, found):
    """So many curves reject the paper's theory, and ours."""

    def change(results):
        for k, meta in enumerate(of(results, "figure1", "-tied")):
            meta["untied"] = AWAY if k < papers else NEAR
            meta["c distance"] = AWAY if k < ours else NEAR

    assert verdict("mean_field_dynamics", "describes networks with tied weights", change) == found


@pytest.mark.parametrize("name", ["q", "c", "map"])
@pytest.mark.parametrize(("away", "found"), [(0, R), (3, D), (4, N)])
def test_evolution(name, away, found):
    def change(results):
        for k, meta in enumerate(of(results, "evolution", "-tied")):
            meta[f"{name} distance"] = AWAY if k < away else NEAR

    assert verdict("mean_field_dynamics", "minimalRNN, tied weights", change) == found


@pytest.mark.parametrize("name", ["late fit", "fit on simulation"])
@pytest.mark.parametrize(("away", "found"), [(0, R), (6, D), (7, N)])
def test_decay(name, away, found):
    def change(results):
        for meta in of(results, "decay")[:away]:
            meta[name] *= 1.5

    assert verdict("mean_field_dynamics", "time scale ξ", change) == found


@pytest.mark.parametrize(("away", "found"), [(0, R), (3, D), (4, N)])
def test_closed_form(away, found):
    def change(results):
        for meta in [meta for meta in of(results, "family") if "chi" in meta][:away]:
            meta["chi"] += 1e-6

    assert verdict("critical_initialisation", "closed form", change) == found


@pytest.mark.parametrize(("scale", "chi", "found"), [(6.8801, 1.0, R), (6.8917, 0.999, D), (6.8917, 1.01, N)])
def test_published_scales(scale, chi, found):
    def change(results):
        meta = results["published"][0]
        meta["closed form"] = {"sigma_w": scale, "sigma_v": 1.3901}
        meta["chi at the printed scales"] = chi

    assert verdict("critical_initialisation", "is critical", change) == found


@pytest.mark.parametrize(("away", "found"), [(0, R), (4, D), (5, N)])
def test_given_table(away, found):
    """Whole rows of eight."""

    def change(results):
        for meta in of(results, "table")[:away]:
            meta["row"] = [2.0 * own + 1.0 for own in meta["row"]]

    assert verdict("critical_initialisation", "Ordered, critical", change) == found


@pytest.mark.parametrize(("away", "found"), [([], R), (["gaussian"], D), (["gaussian", "orthogonal"], N)])
def test_one_step(away, found):
    def change(results):
        for key in away:
            results[f"one-step-{key}"][0]["exact"][0] += 0.1

    assert verdict("critical_initialisation", "variances given", change) == found


@pytest.mark.parametrize(
    ("published", "chosen", "converged", "found"),
    [(0.1, 0.1, True, R), (3.0, 0.1, True, D), (3.0, 3.0, True, N), (0.1, 0.1, False, U)],
)
def test_isometry_of_vanilla_networks(published, chosen, converged, found):
    def change(results):
        for meta in of(results, "isometry-vanilla"):
            meta["log10 s"] = [-published, 0.0, published]
            meta["converged"] = converged
        for T in (1, 10):
            results[f"isometry-vanilla-orthogonal-T{T}"][0]["log10 s"] = [-0.1, 0.0, 0.1]
        for meta in of(results, "isometry-vanilla-tuned"):
            meta["log10 s"] = [-chosen, 0.0, chosen]

    assert verdict("critical_initialisation", "dynamical isometry", change) == found


@pytest.mark.parametrize(("published", "returned", "found"), [(0.5, 3.0, R), (3.0, 0.5, D), (3.0, 3.0, N)])
def test_isometry_of_the_minimal_rnn(published, returned, found):
    def change(results):
        for point, width in (("published", published), ("returned", returned)):
            for T in (10, 100, 1000):
                sample = results[f"{point}-T{T}-untied"][0]["sample"]
                sample["0.05"][0], sample["0.95"][0] = -width, width

    assert verdict("criticality", "minimalRNN's critical", change) == found


@pytest.mark.parametrize(
    ("orthogonal", "gaussian", "grows", "found"),
    [
        (0.05, 3.0, True, R),
        (0.05, 0.05, True, D),
        (0.05, 3.0, False, D),
        (3.0, 3.0, True, D),
        (3.0, 3.0, False, N),
    ],
)
def test_isometry_as_q_falls(orthogonal, gaussian, grows, found):
    def change(results):
        for weights, width in (("orthogonal", orthogonal), ("gaussian", gaussian)):
            sample = results[f"vanilla-{weights}"][0]["sample"]
            sample["0.05"], sample["0.95"] = [-width, 1e-3], [width, 1e-3]
        if not grows:
            arrays = results["vanilla-family"][1]
            arrays["log_s"] = arrays["log_s"][:, :, ::-1]

    assert verdict("criticality", "as q* → 0", change) == found


@pytest.mark.parametrize(("away", "found"), [(0, R), (2, D), (3, N)])
def test_time_scale(away, found):
    def change(results):
        decays = [own for own in results["correlations"][0].values() if isinstance(own, dict) and "xi" in own]
        assert len(decays) == 5
        for k, own in enumerate(decays):
            own["measured"] = own["mean field, same window"] * (1.5 if k < away else 1.01)

    assert verdict("criticality", "time scale", change) == found


@pytest.mark.parametrize(("away", "silent", "found"), [(0, 0, R), (0, 6, R), (0, 7, U), (6, 0, D), (7, 0, N)])
@pytest.mark.parametrize("reason", ["control", "mean", "law"])
def test_spectra(away, silent, reason, found):
    def change(results):
        own = of(results, "minimal")
        assert len(own) == 12
        for k, meta in enumerate(own):
            meta["verdict"] |= {"agrees": k >= away, "decided": True}
            meta["control"] |= {"agrees": False, "decided": True}
            if k >= 12 - silent:
                if reason == "control":
                    meta["control"]["agrees"] = True
                elif reason == "mean":
                    meta["theory"]["m_1 of the density"] *= 1.05
                else:
                    meta["theory"]["converged"] = False

    assert verdict("jacobian_spectra", "minimalRNN", change) == found


@pytest.mark.parametrize(("rejects", "right", "found"), [(False, True, R), (True, True, D), (True, False, N)])
def test_tied_spectra(rejects, right, found):
    def change(results):
        for meta, _ in results.values():
            meta["theory"]["distance"] = 1e-3 if right else 0.1
            for own in meta["wrong"].values():
                own |= {"distance": 0.2 if rejects else 1e-3}

    assert verdict("gated", "used for networks with tied weights", change) == found


def rows(sweep: str, longest: dict[float, int]) -> dict[str, core.Result]:
    """Networks of a sweep that learn all lengths up to the given one."""
    made = {}
    for value, last in longest.items():
        T = np.array([2, 8, 32, 128])
        steps = np.repeat(np.where(last >= T, 100.0, np.inf)[:, None], 3, axis=1)
        settings = {"sweep": sweep, "value": value, "steps": 2000, "size": "standard", "lengths": T.tolist()}
        theory = {"xi_Sigma0": 2.0 + value, "xi_Sigma1": 3.0 + value}
        made[f"{sweep}-{value:g}"] = ({"settings": settings, "theory": theory}, {"T": T, "steps": steps})
    return made


def test_breadth_is_between_the_values_that_learn_and_their_neighbours():
    own = list(rows("vanilla-sigma_w", {0.5: 8, 1.0: 32, 1.5: 128, 2.0: 8, 3.0: 32}).values())
    assert breadth(own, 128) == pytest.approx((1.0, 2.0 / 1.0))
    assert breadth(own, 32) == pytest.approx((1.5, 2.0 / 0.5))  # 3.0 is apart
    assert breadth(own, 8) == (pytest.approx(6.0), np.inf)
    assert breadth(own, 2) == (pytest.approx(6.0), np.inf)
    assert breadth(list(rows("vanilla-sigma_w", {1.0: 2, 3.0: 2}).values()), 8) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("gated", "plain", "found"),
    [
        ({1.0: 128, 5.0: 128, 9.0: 128}, {0.5: 2, 1.0: 128, 1.5: 2}, R),
        ({1.0: 2, 2.0: 128, 2.1: 2}, {0.5: 128, 1.0: 128, 1.5: 128}, N),
        ({1.0: 2, 5.0: 128, 9.0: 2}, {0.5: 2, 1.0: 128, 1.5: 2}, U),
        (
            {1.0: 2, 1.05: 32, 3.8: 32, 4.0: 128, 4.4: 32, 8.0: 32, 8.5: 2},
            {0.9: 2, 1.0: 128, 2.0: 128, 2.1: 8},
            D,
        ),
    ],
)
def test_breadth_of_the_trainable_region(gated, plain, found):
    results = rows("minimal-sigma_w", gated) | rows("vanilla-sigma_w", plain)
    claims = command.STUDIES["trainability"].claims(results)
    assert claims[-1].verdict == found
    assert cells.MU_OF_SIGMA_SWEEP == 4.0 and "μ_b = 4" in claims[-1].claim
