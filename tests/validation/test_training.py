"""The training studies: their NumPy parts everywhere, a few steps of training where PyTorch is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core import random
from validation import core, data
from validation.core import places
from validation.paper import learning_growth, trainability, training
from validation.paper.language import cases as models
from validation.paper.language.findings import claims as language_claims
from validation.paper.learning_growth import arms
from validation.paper.learning_growth import cases as growth_cases
from validation.paper.trainability import cases as cells
from validation.paper.trainability import findings as results
from validation.paper.trainability.slope import bounds, regression


def fake_digits() -> data.Digits:
    """Ten patterns with a little noise: 80 images for training, 40 for testing."""
    rng = np.random.default_rng(3)
    patterns = rng.integers(0, 200, (10, 28, 28))
    labels = np.arange(120) % 10
    images = (patterns[labels] + rng.integers(0, 55, (120, 28, 28))).astype(np.uint8)
    return data.Digits(images[:80], labels[:80], images[80:], labels[80:], "patterns")


def test_digit_vectors_are_block_means_of_the_centre():
    images = np.zeros((1, 28, 28), dtype=np.uint8)
    images[0, 4:6, 4:6] = [[255, 0], [255, 0]]
    images[0, 0, 0] = 255
    vector = training.digit_vectors(images)
    assert vector.shape == (1, 100)
    assert vector[0, 0] == 0.5
    assert vector[0, 1:].sum() == 0


def test_digit_sequences_keep_the_reading_order():
    images = np.arange(2 * 784, dtype=float).reshape(2, 28, 28)
    sequences = training.digit_sequences(images, 4)
    assert sequences.shape == (2, 196, 4)
    np.testing.assert_array_equal(sequences.reshape(2, 784) * 255, images.reshape(2, 784))
    with pytest.raises(ValueError, match="must divide"):
        training.digit_sequences(images, 5)


def test_scaled_has_the_second_moment_asked_for():
    rng = np.random.default_rng(0)
    own, held_out = training.scaled(rng.uniform(0, 1, (50, 7)), rng.uniform(0, 1, (20, 7)), 0.46)
    assert (own.astype(float) ** 2).mean() == pytest.approx(0.46, rel=1e-5)
    assert (held_out.astype(float) ** 2).mean() == pytest.approx(0.46, rel=0.3)


def test_the_median_seed_counts_and_the_longest_length_is_censored():
    T, never = np.array([4.0, 16.0, 64.0]), np.inf
    arrays = {"steps": np.array([[8.0, 11.0, 90.0], [64.0, 128.0, never], [16.0, never, never]])}
    assert results.learned(arrays).tolist() == [True, True, False]
    assert results.learned(arrays, 100).tolist() == [True, False, False]
    assert bounds(T, results.learned(arrays)) == pytest.approx((math.log(16.0), math.log(64.0)))
    assert bounds(T, np.array([True, True, True])) == (math.log(64.0), math.inf)
    assert bounds(T, np.array([True, False, True])) == (math.log(64.0), math.inf)
    assert bounds(T, np.array([False, False, False])) == (-math.inf, math.log(4.0))


def test_rank_correlation_agrees_with_scipy():
    import scipy.stats

    rng = np.random.default_rng(1)
    x = rng.integers(0, 6, 20).astype(float)
    y = x + rng.integers(0, 4, 20)
    assert results.rank_correlation(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert math.isnan(results.rank_correlation(np.ones(4), y[:4]))


def sampled_lengths(rng, slope, scatter, lengths, count=14):
    """log ξ and the interval of log T* for T* = 3 ξ^slope with scatter, seen through a grid of lengths."""
    log_xi = np.linspace(0.0, 5.0, count)
    longest = np.log(3.0) + slope * log_xi + scatter * rng.standard_normal(count)
    return log_xi, *np.array([bounds(lengths, one > np.log(lengths)) for one in longest]).T


def test_the_interval_of_the_slope_covers():
    """Some networks learn the longest length; the slope is not flattened. 95 % of 30 is 28.5 ± 1.2."""
    lengths, covered = 2.0 ** np.arange(1, 8), []
    for slope in (1.0, 0.5, 0.0):
        fits = [
            regression(*sampled_lengths(np.random.default_rng(seed), slope, 0.3, lengths))
            for seed in range(10)
        ]
        covered += [fit.low <= slope <= fit.high for fit in fits]
        assert np.mean([fit.b for fit in fits]) == pytest.approx(slope, abs=0.1)
    assert sum(covered) >= 25


def test_fine_lengths_give_least_squares():
    """Without censoring the slope is that of least squares, its interval nearly that of Student's t."""
    import scipy.stats

    x = np.linspace(0.0, 4.0, 30)
    y = 1.2 * x + 0.3 * np.random.default_rng(5).standard_normal(30)
    fit, plain = regression(x, y - 1e-3, y + 1e-3), scipy.stats.linregress(x, y)
    assert fit.b == pytest.approx(plain.slope, abs=1e-4)
    half = scipy.stats.t.ppf(0.975, 28) * plain.stderr
    assert [fit.low, fit.high] == pytest.approx([plain.slope - half, plain.slope + half], abs=1e-3)
    with pytest.raises(ValueError, match="three networks"):
        regression(x[:2], y[:2], y[:2])


def trainability_results(law) -> dict[str, core.Result]:
    """Results as if the longest trainable T were ``law(ξ)`` in every sweep."""
    made: dict[str, core.Result] = {}
    for case in cells.list_cases("standard"):
        sweep, value = case.settings["sweep"], case.settings["value"]
        xi = 3.0 * 1.5 ** cells.SIZES["standard"][sweep].index(value)
        T = np.array(case.settings["lengths"])
        T = T[: np.searchsorted(T, law(xi)) + 1]  # one length that fails
        steps = np.repeat(np.where(law(xi) > T, 100.0, np.inf)[:, None], 3, axis=1)
        theory = {"xi_Sigma0": xi, "xi_Sigma1": xi}
        made[case.key] = ({"settings": case.settings, "theory": theory}, {"T": T, "steps": steps})
    return made


@pytest.mark.parametrize(
    ("law", "verdict"),
    [
        (lambda xi: 2 * xi, core.Verdict.REPRODUCED),
        (lambda xi: 4 * xi**0.5, core.Verdict.DIFFERENCE),
        (lambda xi: 300 / xi, core.Verdict.NOT_REPRODUCED),
        (lambda xi: 1.0, core.Verdict.UNDECIDED),
    ],
)
def test_the_verdict_follows_the_numbers(law, verdict):
    made = trainability.STUDY.claims(trainability_results(law))
    assert [claim.verdict for claim in made[:-1]] == [verdict] * len(cells.SWEEPS)


def test_which_time_scale_goes_with_what_is_learned():
    made = trainability_results(lambda xi: 2 * xi)
    assert not any(claim.new for claim in trainability.STUDY.claims(made))
    scales = np.random.default_rng(3).permutation([meta["theory"]["xi_Sigma0"] for meta, _ in made.values()])
    for (meta, _), xi in zip(made.values(), scales, strict=True):
        meta["theory"] = meta["theory"] | {"xi_Sigma1": xi}
    found = trainability.STUDY.claims(made)[:-1]
    assert len(found) == 2 * len(cells.SWEEPS)  # a claim for each reading of the noise
    assert all("independent noise, Σ = 0 (rank" in claim.new for claim in found[::2])
    assert not any(claim.new for claim in found[1::2])


def test_area_and_first_step():
    steps = np.array([1, 2, 4, 8])
    assert training.area(steps, np.full(4, 0.3)) == pytest.approx(0.3)
    assert training.area(steps, np.array([0.0, 1.0, 1.0, 1.0])) == pytest.approx(2.5 / 3)
    assert training.first_step(steps, np.array([0.1, 0.5, 0.4, 0.9]), 0.5) == 2
    assert math.isinf(training.first_step(steps, np.zeros(4), 0.5))


def growth_results(gains: dict[str, float]) -> dict[str, core.Result]:
    """Results of the quick size, by how much the accuracy of each arm differs."""
    seeds = np.array([[0.40, 0.45, 0.5], [0.45, 0.5, 0.55]])
    return {
        case.key: (
            {"settings": case.settings, "placed": {"growth": [0.0, 0.0]}},
            {"step": np.array([4, 8, 16]), "accuracy": seeds + gains.get(case.settings["arm"], 0.0)},
        )
        for case in growth_cases.list_cases("quick")
    }


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (-0.3, -0.3, core.Verdict.REPRODUCED),
        (0.01, -0.3, core.Verdict.DIFFERENCE),
        (0.3, -0.3, core.Verdict.NOT_REPRODUCED),
        (0.01, -0.01, core.Verdict.UNDECIDED),
    ],
)
def test_verdicts_by_growth(lower, upper, verdict):
    made = growth_results({"growth -0.1": lower, "growth 0.1": upper})
    found = learning_growth.STUDY.claims(made)
    assert [claim.verdict for claim in found] == [verdict] * 2
    slow = {
        key: (meta, arrays | {"accuracy": arrays["accuracy"] - 0.4}) for key, (meta, arrays) in made.items()
    }
    assert {claim.verdict for claim in learning_growth.STUDY.claims(slow)} == {core.Verdict.UNDECIDED}


def test_the_growth_study_says_what_was_not_run():
    made = growth_results({})
    part = {key: one for key, one in made.items() if key.startswith("minimal") and "growth_0.1" not in key}
    cell, rest = learning_growth.STUDY.claims(part)
    assert {cell.verdict, rest.verdict} == {core.Verdict.UNDECIDED}
    assert "growth 0.1" in cell.found and "vanilla, orthogonal, pixels, T = 196" in rest.found


def test_marks_end_with_the_last_step():
    assert training.marks(100)[-1] == 100
    assert training.marks(128) == [4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128]


def test_embedding_gives_the_second_moment():
    sample = np.random.default_rng(2).standard_normal((500, 4)) * 0.3
    matrix = training.embedding(sample, 30, 0.46, seed=1)
    assert (np.tanh(sample @ matrix.T) ** 2).mean() == pytest.approx(0.46, abs=1e-9)


def test_critical_gain_makes_the_growth_one():
    ens = rt.Ensemble("vanilla", sigma_w=1.0, sigma_v=0.025, R=0.46)
    gain = training.critical_gain(ens, 0.9, 1.4)
    assert gain == pytest.approx(1.0598, abs=2e-4)
    assert rt.mean_field(ens.replace(sigma_w=gain)).chi == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(RuntimeError, match="no change"):
        training.critical_gain(ens, 0.5, 0.6)


def test_an_interrupted_sweep_keeps_its_finished_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "CHECKPOINTS", tmp_path)
    done: list[int] = []

    def trial(parameters: dict, index: int) -> np.ndarray:
        if index == 2 and len(done) == 2:
            raise KeyboardInterrupt
        done.append(index)
        return np.array([parameters["value"] + index])

    with core.Workers(1) as workers:
        with pytest.raises(KeyboardInterrupt):
            training.sweep(trial, "cut", {"value": 1.0}, 3, workers)
        done.append(-1)
        values = training.sweep(trial, "cut", {"value": 1.0}, 3, workers)
    assert done == [0, 1, -1, 2]
    assert [value[0] for value in values] == [1.0, 2.0, 3.0]
    assert list((tmp_path / "cells").iterdir()) == []


@pytest.mark.parametrize(
    ("key", "rates"), [("vanilla-sigma_w-0.9", [3e-3, 1e-5]), ("minimal-mu_b-3.5", [2e-2])]
)
def test_a_network_of_the_trainability_grid_learns_a_short_sequence_and_repeats(key, rates):
    pytest.importorskip("torch")
    case = next(case for case in cells.list_cases("quick") if case.key == key)
    settings = dict(case.settings, steps=90, rates=rates)
    steps = cells.train(settings, 3, fake_digits())
    assert steps.shape == (settings["seeds"],)
    assert (steps < 90).all()
    np.testing.assert_array_equal(cells.train(settings, 3, fake_digits()), steps)
    assert np.isinf(cells.train(dict(settings, rates=[1e-6]), 3, fake_digits())).all()


def test_lengths_are_trained_until_no_seed_learns(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(training, "digits", lambda size: fake_digits())
    found = {4: [9.0, 9.0], 8: [60.0, np.inf], 16: [np.inf, np.inf], 32: [9.0, 9.0]}
    monkeypatch.setattr(cells, "train", lambda settings, T, source: np.array(found[T]))
    with core.Workers(1) as workers:
        meta, arrays = cells.compute(cells.list_cases("quick")[0], workers)
    assert arrays["T"].tolist() == [4, 8, 16]
    np.testing.assert_array_equal(arrays["steps"], [found[T] for T in (4, 8, 16)])
    assert meta["theory"]["xi_Sigma0"] == pytest.approx(0.7213, abs=1e-3)


@pytest.mark.parametrize(("cell", "arm"), [("vanilla", "growth -0.1"), ("minimal", "growth -0.05")])
def test_a_learning_case_has_its_growth_an_inner_rate_and_a_curve(monkeypatch, cell, arm):
    pytest.importorskip("torch")
    monkeypatch.setattr(training, "digits", lambda size: fake_digits())
    monkeypatch.setattr(growth_cases, "CHECKED", 20)
    settings = {"cell": cell, "weights": "gaussian", "arm": arm, "inputs": "permuted", "T": 28, "R": 0.46}
    settings |= {"N": 12, "batch": 4, "steps": 12, "search": 8, "seeds": 2, "held_out": 20, "seed": 1}
    with core.Workers(1) as workers:
        meta, arrays = growth_cases.compute(core.Case("own", settings | {"size": "quick"}), workers)
    placed = meta["placed"]
    assert placed["growth"] == pytest.approx([arms.GROWTHS[arm]] * 2, abs=2e-3)
    assert placed["sigma_w"][0] != placed["sigma_w"][1]
    tried = placed["area at rates"]
    assert max(tried, key=tried.get) == f"{placed['rate']:.3g}"
    assert arrays["accuracy"].shape == (2, len(training.marks(12)))
    assert ((arrays["accuracy"] >= 0) & (arrays["accuracy"] <= 1)).all()


@pytest.mark.parametrize("cell", ["vanilla", "minimal"])
def test_the_growth_on_data_is_that_of_the_gradient(cell):
    """Against autograd through the module: one direction for each sequence."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((5, 9, 3)).astype(np.float32)
    net = training.digit_network(arms.published(cell, "orthogonal"), x, 8, 3)
    h0 = torch.zeros((1, 5, 8), dtype=torch.float64, requires_grad=True)
    _, last = net.double()(torch.from_numpy(x.astype(float)).transpose(0, 1), h0)
    direction = torch.from_numpy(random.stream(0, arms.DIRECTIONS).standard_normal((5, 8)))
    (last[0] * direction).sum().backward()
    norms = torch.linalg.norm(h0.grad[0], dim=1) / torch.linalg.norm(direction, dim=1)
    assert arms.module_growth(net, x) == pytest.approx(float(norms.log().mean()) / 9, rel=1e-6)


def test_no_gain_has_a_growth_out_of_reach():
    assert arms.begins("growth 0.1", "vanilla", "orthogonal", 28, lambda ens: -1.0) is None


def test_streams_read_side_by_side():
    assert models.streams(np.arange(7), 2).tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("cell", list(models.CRITICAL))
def test_models_have_equal_budgets_and_the_parameters_counted(cell):
    torch = pytest.importorskip("torch")
    sizes = models.SIZES["quick"]
    N = models.width(cell, sizes)
    counted = models.recurrent_parameters(cell, N, sizes["embedding"])
    assert 0.97 * sizes["budget"] < counted <= sizes["budget"]
    model = models.build({"cell": cell, "start": "default", "N": N, **sizes}, 50, seed=1)
    own = sum(p.numel() for part in ("cell", "back") for p in model[part].parameters())
    assert own == counted
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("cell", ["minimal", "lstm"])
def test_a_language_model_learns_a_repeating_text(monkeypatch, cell):
    """Words 1 2 3 4 5 in a circle: perplexity 5 without memory of the last word, 1 with it."""
    pytest.importorskip("torch")
    text = np.tile(np.arange(1, 6), 200)
    monkeypatch.setattr(models, "_encoded", lambda vocabulary: (text, text, text))
    settings = {
        "cell": cell,
        "start": "critical",
        "sigma_w": 3.0,
        "weights": "orthogonal",
        "N": 12,
        "seed": 2,
    }
    settings |= {**models.CRITICAL[cell], "vocabulary": 6, "embedding": 8, "streams": 4, "window": 10}
    settings |= {"held_out": 200, "steps": 80, "rate": 2e-2, "tuning_steps": 0}
    *curve, test, _ = models.final(settings, 0)
    assert math.exp(test) < 2.0
    assert len(curve) == models.QUARTERS
    assert curve[-1] == test < curve[0]
    untrained, _ = models.tune(settings, 0)
    assert math.exp(untrained) > 4.0


def language_results(minimal: float, fall: float) -> dict[str, core.Result]:
    made: dict[str, core.Result] = {}
    for case in models.list_cases("quick"):
        level = {"minimal": minimal, "vanilla": 160.0}.get(case.settings["cell"], 100.0)
        level *= 1.0 if case.settings["start"] == "critical" else 1.1
        losses = np.log(level * np.array([0.99, 1.01]))
        curve = losses[:, None] + np.array([0.5, 0.2, -math.log(1.0 - fall), 0.0])
        made[case.key] = ({"settings": case.settings}, {"test": losses, "valid": losses, "curve": curve})
    return made


@pytest.mark.parametrize(
    ("minimal", "fall", "verdict"),
    [
        (102.0, 0.01, core.Verdict.DIFFERENCE),
        (120.0, 0.01, core.Verdict.NOT_REPRODUCED),
        (102.0, 0.10, core.Verdict.UNDECIDED),
    ],
)
def test_language_verdicts(minimal, fall, verdict):
    comparable, starts = language_claims(language_results(minimal, fall))
    assert comparable.verdict == verdict
    assert ("1.020" in comparable.numbers) == (minimal == 102.0)
    assert starts.verdict == (core.Verdict.UNDECIDED if fall > 0.05 else core.Verdict.REPRODUCED)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((1.1, 1.1, 1.0, 1.0), core.Verdict.REPRODUCED),
        ((1.1, 1.1, 0.9, 1.0), core.Verdict.DIFFERENCE),
        ((0.9, 0.9, 1.1, 1.0), core.Verdict.NOT_REPRODUCED),
        ((1.1, 1.0, 1.0, 1.0), core.Verdict.UNDECIDED),
    ],
)
def test_the_start_of_language_models(gains, verdict):
    """By the gain of the critical start in each of the four cells."""
    made = language_results(102.0, 0.01)
    for cell, gain in zip(("vanilla", "minimal", "gru", "lstm"), gains, strict=True):
        arrays = made[f"{cell}-default"][1]
        arrays["test"] = made[f"{cell}-critical"][1]["test"] + math.log(gain)
    assert language_claims(made)[1].verdict == verdict
