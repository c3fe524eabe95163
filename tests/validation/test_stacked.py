"""Networks trained together give what each gives alone with PyTorch's own autograd and Adam."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from rmtrnn import torch as rt_torch  # noqa: E402
from validation.paper import stacked  # noqa: E402

KINDS = [
    (rt_torch.VanillaRNN, {}),
    (rt_torch.MinimalRNN, {"embed": False}),
    (rt_torch.MinimalRNN, {"embed": True}),
]
M, T, B, N, CLASSES = 3, 7, 5, 6, 4


def networks(kind, options, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        cells = [kind(N, N, **options).to(dtype) for _ in range(M)]
        readouts = [torch.nn.Linear(N, CLASSES).to(dtype) for _ in range(M)]
        x, labels = torch.randn((M, T, B, N), dtype=dtype), torch.randint(CLASSES, (M, B))
    return cells, readouts, x, labels


def single(cell, readout, x):
    return readout(cell(x)[1][0])


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_scores_and_gradients_are_those_of_each_module(kind, options, shared):
    cells, readouts, x, labels = networks(kind, options)
    x = x[:1] if shared else x
    parameters = stacked.stack(cells, readouts, "cpu")
    losses = stacked.cross_entropies(stacked.scores(kind, parameters, x), labels)
    losses.sum().backward()
    for m, (cell, readout) in enumerate(zip(cells, readouts, strict=True)):
        own = single(cell, readout, x[0 if shared else m])
        loss = torch.nn.functional.cross_entropy(own, labels[m])
        loss.backward()
        assert losses[m].item() == pytest.approx(loss.item(), rel=1e-12)
        named = dict(cell.named_parameters()) | {f"out.{k}": v for k, v in readout.named_parameters()}
        assert named.keys() == parameters.keys()
        for name, parameter in named.items():
            torch.testing.assert_close(parameters[name].grad[m], parameter.grad, rtol=1e-10, atol=1e-14)


def test_training_is_that_of_each_network_alone():
    kind, options = rt_torch.MinimalRNN, {"embed": True}
    cells, readouts, x, labels = networks(kind, options)
    parameters = stacked.stack(cells, readouts, "cpu")
    rates = torch.tensor([1e-3, 1e-2, 1e-1], dtype=torch.float64)

    def losses_of():
        return 5.0 * stacked.cross_entropies(stacked.scores(kind, parameters, x), labels)

    stacked.train(parameters, losses_of, 12, rates)
    for m, (cell, readout) in enumerate(zip(cells, readouts, strict=True)):
        model = torch.nn.ModuleDict({"cell": cell, "out": readout})
        optimiser = torch.optim.Adam(model.parameters(), rates[m].item())
        for _ in range(12):
            optimiser.zero_grad()
            (5.0 * torch.nn.functional.cross_entropy(single(cell, readout, x[m]), labels[m])).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), stacked.CLIP)
            optimiser.step()
        for name, parameter in cell.named_parameters():
            torch.testing.assert_close(parameters[name][m], parameter, rtol=1e-8, atol=1e-11)


def test_a_network_that_overflows_stops_alone():
    kind = rt_torch.VanillaRNN
    cells, readouts, x, labels = networks(kind, {})
    parameters = stacked.stack(cells, readouts, "cpu")
    with torch.no_grad():
        parameters["out.bias"][1] = float("inf")
    before = {name: p.detach().clone() for name, p in parameters.items()}
    stacked.train(
        parameters,
        lambda: stacked.cross_entropies(stacked.scores(kind, parameters, x), labels),
        3,
        torch.full((M,), 0.1, dtype=torch.float64),
    )
    for name, p in parameters.items():
        assert torch.equal(p[1], before[name][1])
        assert p[[0, 2]].isfinite().all()
    assert not torch.equal(parameters["out.weight"][0], before["out.weight"][0])


def test_accuracies_count_over_parts():
    labels = torch.tensor([0, 1, 2, 3, 1])
    x = torch.nn.functional.one_hot(labels, CLASSES)[:, None].double()  # one step

    def score(rows):
        return torch.cat([rows[:, 0], rows[:, 0].roll(1, -1)])  # the right class, and the next one

    assert stacked.accuracies(score, x, labels, part=2).tolist() == [1.0, 0.0]
