"""The stacked trainer of the initialisation study against PyTorch's modules (skipped without the extra)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from validation.initialisation import arms, tasks, trainer, variants  # noqa: E402
from validation.networks import modules, steps  # noqa: E402

N, B = 6, 3
CELLS = ("vanilla", "minimal", "gru", "lstm")


def stacked(
    cell: str, task: tasks.Task, count: int, steps_each: int = 5
) -> tuple[list[Any], list[trainer.Run]]:
    """Modules with their readouts, and the same networks as runs."""
    drawn = [arms.module(cell, "default", None, task, N, seed) for seed in range(count)]
    runs = [
        trainer.Run(modules.flat(*pair), rate=0.01, seed=seed, steps=steps_each)
        for seed, pair in enumerate(drawn)
    ]
    return drawn, runs


def module_loss(pair: Any, task: tasks.Task, x: np.ndarray, answers: np.ndarray) -> Any:
    """The loss of a module on a batch, by autograd's own path."""
    net, readout = pair
    found = net(torch.from_numpy(x).double())[0]
    scores = readout(found[-task.read :])
    if task.outputs == 1:
        return torch.mean((scores[..., 0] - torch.from_numpy(answers).double()) ** 2)
    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.from_numpy(answers).flatten())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["adding", "copy"])
def test_losses_and_gradients_are_those_of_the_modules(cell: str, name: str) -> None:
    task = tasks.task(name, 12)
    drawn, runs = stacked(cell, task, 2)
    stack = trainer.Stack(cell, task, N, B, runs)
    batches = [task.batch(trainer._random.stream(k, trainer.BATCHES), B) for k in range(len(drawn))]
    x, answers = (torch.from_numpy(np.stack(part)) for part in zip(*batches, strict=True))
    losses = stack.losses(x, answers)
    for k, pair in enumerate(drawn):
        for part in pair:
            part.double()
        loss = module_loss(pair, task, *batches[k])
        loss.backward()
        assert losses[k].item() == pytest.approx(loss.item(), rel=1e-5)
        with torch.no_grad():
            for parameter in (*pair[0].parameters(), *pair[1].parameters()):
                parameter.copy_(parameter.grad)
        found, wanted = stack.slope[k].double(), modules.flat(*pair, gradient=True).double()
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


@pytest.mark.parametrize("cell", CELLS)
def test_training_is_that_of_adam(cell: str) -> None:
    """Losses of five steps; a gate has one bias where PyTorch has two, and moves both with Adam."""
    task = tasks.task("adding", 8)
    drawn, runs = stacked(cell, task, 2)
    trainer.train(cell, task, N, B, runs, target=0.0, together=2)
    for k, (net, readout) in enumerate(drawn):
        parameters = [p for name, p in net.named_parameters() if name != "bias_hh_l0" or cell == "gru"]
        if cell == "gru":
            with torch.no_grad():  # the two biases of r and u as one
                net.bias_ih_l0[: 2 * N] += net.bias_hh_l0[: 2 * N]
                net.bias_hh_l0[: 2 * N] = 0.0
            net.bias_hh_l0.register_hook(lambda g: torch.cat([torch.zeros_like(g[: 2 * N]), g[2 * N :]]))
        optimiser = torch.optim.Adam([*parameters, *readout.parameters()], 0.01)
        draw, losses = trainer._random.stream(k, trainer.BATCHES), []
        for _ in range(5):
            x, answers = task.batch(draw, B)
            loss = torch.mean(
                (readout(net(torch.from_numpy(x))[0][-1])[:, 0] - torch.from_numpy(answers[0])) ** 2
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*parameters, *readout.parameters()], 1.0)
            optimiser.step()
            losses.append(loss.item())
        np.testing.assert_allclose(runs[k].losses, losses, rtol=2e-3)


def test_a_network_trains_alike_in_every_slot() -> None:
    task = tasks.task("adding", 8)
    _, alone = stacked("gru", task, 5, 7)
    _, together = stacked("gru", task, 5, 7)
    together[0].steps, alone[0].steps = 3, 3
    trainer.train("gru", task, N, B, alone, target=0.0, together=1)
    trainer.train("gru", task, N, B, together, target=0.0, together=2)
    for one, other in zip(alone, together, strict=True):
        assert len(one.losses) == one.steps
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)


def test_a_network_that_is_not_finite_stops_alone() -> None:
    task = tasks.task("adding", 8)
    _, runs = stacked("vanilla", task, 2)
    runs[0].start[:] = float("nan")
    trainer.train("vanilla", task, N, B, runs, target=0.0, together=2)
    assert runs[0].failed and not runs[0].losses
    assert not runs[1].failed and len(runs[1].losses) == 5


def test_training_ends_at_the_target() -> None:
    """Twenty losses of 2, then ones: the mean of the last twenty is 2 − k/20 after k ones."""
    run = trainer.Run(torch.zeros(1), rate=0.1, seed=0, steps=100, losses=[2.0] * 20 + [1.0] * 20)
    assert run.reached(1.501) == 20 + 10 and run.reached(0.5) == -1
    assert run.ended(1.1) and not run.ended(0.9)
    assert run.order(1.1) < trainer.Run(run.start, 0.1, 0, 100, [2.0] * 30 + [1.0] * 20).order(1.1)
    np.testing.assert_allclose(run.curve(np.array([20, 30, 40, 90])), [2.0, 1.5, 1.0, 1.0])
    run.failed = True
    assert run.order(0.5)[1] == np.inf and np.isnan(run.curve(np.array([41]))).all()


@pytest.mark.parametrize(("name", "T"), [("adding", 40), ("copy", 40)])
def test_inputs_have_second_moment_one(name: str, T: int) -> None:
    x, _ = tasks.task(name, T).batch(np.random.default_rng(0), 4000)
    assert np.mean(x**2) == pytest.approx(1.0, abs=0.01)


def test_answers_are_what_was_marked_or_shown() -> None:
    x, answers = tasks.adding(20).batch(np.random.default_rng(0), 50)
    value, marked = x[..., 0] / np.sqrt(12.0) + 0.5, x[..., 1] > 0.0
    assert (marked[:10].sum(axis=0) == 1).all() and (marked[10:].sum(axis=0) == 1).all()
    np.testing.assert_allclose(answers[0], (value * marked).sum(axis=0), rtol=1e-5)
    x, answers = tasks.copying(20).batch(np.random.default_rng(0), 50)
    shown = x.argmax(axis=-1)
    assert (shown[: tasks.SYMBOLS] == answers).all() and (shown[-tasks.SYMBOLS :] == tasks.LETTERS + 1).all()
    assert (shown[tasks.SYMBOLS : -tasks.SYMBOLS] == tasks.LETTERS).all()


def test_an_arm_that_a_cell_has_not_says_so() -> None:
    with pytest.raises(arms.MissingArmError, match="no gate"):
        arms.source("vanilla", "chrono", tasks.adding(10), N)


@pytest.mark.parametrize("cell", CELLS)
def test_recipes_are_drawn_as_named(cell: str) -> None:
    """Orthogonal blocks, and a bias of one for the gate that keeps, zero for the rest."""
    task = tasks.adding(10)
    net, _ = arms.module(cell, "orthogonal, bias 1", None, task, N, 0)
    for block in net.weight_hh_l0.detach().split(N):
        np.testing.assert_allclose(block @ block.T, np.eye(N), atol=1e-5)
    own = steps.layout(cell, N, task.inputs, task.outputs)
    W = own.views(modules.flat(net, torch.nn.Linear(N, 1))[None])["W"][0]
    keeps = np.repeat([gate == arms.KEEPING[cell] for gate in modules.COLUMNS.get(cell, "e")], N)
    np.testing.assert_array_equal(W[N], keeps.astype(np.float32))


def test_variants_are_plans_under_other_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"T": 6, "N": 8, "STEPS": 30, "SEEDS": range(1), "RATES": (0.01,)}
    for name, value in (small | {"BOUNDS": {"plan": {}, "no fast units": {"fast": 0.0}}}).items():
        monkeypatch.setattr(variants, name, value)
    rows = variants.compare("adding", "lstm")
    assert [row[2] for row in rows] == [*variants.BOUNDS, *variants.UNTIED, *variants.RECIPES]
    assert len({row[3] for row in rows}) == 4 and all(int(row[4]) != 0 for row in rows)


def test_the_arm_of_the_plan_has_both_time_scales() -> None:
    task = tasks.adding(10)
    net, _ = arms.module("lstm", "initialize", arms.source("lstm", "initialize", task, 64), task, 64, 0)
    writes, keeps = net.bias_ih_l0.detach().split(64)[:2]
    assert 0 < int((keeps == 0.0).sum()) < 32 and len(keeps.unique()) == 2
    assert torch.equal(writes, -keeps)
