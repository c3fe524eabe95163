"""The hunt in small: hundreds of random cases, a control of every check, the log, a script made smaller."""

import collections
import json

import numpy as np
import pytest
import sympy as sp

import rmtrnn as rt
from validation.hunt import activations, answer, checks, draw, hunt, runner
from validation.hunt.cases import FAR, KINDS

ACTIVATIONS = [
    ["named", "tanh"],
    ["named", "hard_tanh"],
    ["named", "elu"],
    ["named", "relu"],
    ["fold", ["z"]],
    ["tanh", ["dead zone", ["z"]]],
    ["clip", ["scaled", 2.0, 0.5, ["z"]]],
    ["two slopes", ["z"]],
    ["pole", ["z"]],
    ["step", ["z"]],
]
FINE = {"ok", "no state", "refused"}


def cheap(seed):
    """A case whose activation is one of a few, or a free law without sums."""
    kind = ("vanilla", "eigenvalues", "free")[seed % 3]
    settings = draw(kind, seed)
    if kind == "free":
        factor = settings["law"]
        while factor[0] in ("times", "plus", "sum power", "number"):
            factor = factor[1]
        return kind, settings | {"law": factor}
    settings = {name: value for name, value in settings.items() if name != "cell"}
    settings["activation"] = ACTIVATIONS[seed // 3 % len(ACTIVATIONS)]
    return kind, settings | ({"T": min(settings["T"], 3)} if kind == "vanilla" else {})


SWEPT = [pytest.param(start, start + 92, marks=pytest.mark.sweep) for start in (24, 116, 208)]


@pytest.mark.parametrize(("start", "stop"), [(0, 24), *SWEPT])
def test_three_hundred_cheap_cases(start, stop):
    found = collections.Counter()
    for seed in range(start, stop):
        kind, settings = cheap(seed)
        verdict, words = answer(kind, settings)
        assert verdict in FINE, (kind, settings, verdict, words)
        found[verdict] += 1
    assert found["ok"] > 0.5 * (stop - start), found


def test_the_checks_find_a_wrong_law():
    spec = rt.spectrum(rt.Ensemble("vanilla", sigma_b=0.3), 2)
    checks.law(spec.log_s, spec.error, spec.mass)
    with pytest.raises(checks.Wrong, match="mass"):
        checks.law(spec.log_s, spec.error, 1.01)
    rng = np.random.default_rng(1)
    ens, other = rt.Ensemble("vanilla", sigma_b=0.3), rt.Ensemble("vanilla", sigma_b=0.3, sigma_w=1.4)
    W = [checks.weight(200, ens, rng) for _ in range(2)]
    e = np.sqrt(rt.mean_field(ens).q) * checks.stratified_normals(400, rng).reshape(2, 200)
    J = np.eye(200)
    for slope, weights in zip(1 / np.cosh(e) ** 2, W, strict=True):
        J = slope[:, None] * (weights @ J)
    u = np.log(np.linalg.svd(J, compute_uv=False))
    assert checks.kolmogorov(spec.log_s.cdf, u) < 0.03
    assert checks.kolmogorov(rt.spectrum(other, 2).log_s.cdf, u) > FAR + 0.02
    with pytest.raises(checks.Wrong, match="q: "):
        checks.close("q", 1.0, 1.1, 1e-3)


@pytest.mark.parametrize("kind", ["free", pytest.param("eigenvalues", marks=pytest.mark.sweep)])
def test_a_run_is_logged_and_goes_on(tmp_path, monkeypatch, kind):
    times = iter(np.linspace(0.0, 1e4, 200))
    monkeypatch.setattr(runner.time, "monotonic", lambda: next(times))
    found = hunt(6.0, 3, tmp_path, (kind,))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == found["cases"] > 0
    assert {one["kind"] for one in lines} == {kind}
    again = hunt(6.0, 3, tmp_path, (kind,))
    assert again["cases"] > found["cases"] == again["cases before it"]
    assert "Findings" in (tmp_path / "report.md").read_text()
    for one in lines:
        assert draw(one["kind"], one["settings"]["seed"]) == one["settings"]


def test_a_finding_is_made_smaller(tmp_path, monkeypatch):
    """A fault that shows for every σ_w above 1 is written out with all else at its plainest."""

    def check(settings):
        if settings["sigma_w"] > 1:
            raise checks.Wrong("σ_w")

    monkeypatch.setitem(KINDS, "vanilla", KINDS["vanilla"]._replace(check=check))
    settings = next(one for one in (draw("vanilla", seed) for seed in range(50)) if one["sigma_w"] > 1.1)
    small = runner.shrunk("vanilla", settings, "wrong")
    assert (small["T"], small["mu_b"], small["sigma_b"]) == (1, 0.0, 0.0)
    path = runner.write_script(tmp_path, {"kind": "vanilla", "settings": settings, "verdict": "wrong"})
    assert "answer('vanilla'" in path.read_text() and "wrong" in path.read_text()


def test_activations_are_what_they_say():
    (z,) = activations.expression(["z"]).free_symbols
    assert activations.expression(["scaled", 2.0, 0.5, ["z"]]).subs(z, sp.Rational(1, 4)) == 1
    assert activations.simpler(["tanh", ["sin", ["z"]]]) == [["sin", ["z"]], ["tanh", ["z"]]]
    assert answer("vanilla", draw("vanilla", 0) | {"activation": ["pole", ["z"]]}).verdict == "refused"
