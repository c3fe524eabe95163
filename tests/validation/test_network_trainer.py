"""Networks trained side by side give what each gives alone with PyTorch's own autograd and Adam."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from rmtrnn import torch as rt_torch  # noqa: E402
from validation.networks import modules, side_by_side  # noqa: E402
from validation.paper import training  # noqa: E402

KINDS = [
    (rt_torch.VanillaRNN, {}),
    (rt_torch.MinimalRNN, {"embed": False}),
    (rt_torch.MinimalRNN, {"embed": True}),
    (torch.nn.GRU, {}),
    (torch.nn.LSTM, {}),
]
M, T, B, N, CLASSES = 3, 7, 5, 6, 4


def networks(kind, options, rates=(0.1, 0.1, 0.1)):
    """Modules, the same networks side by side, sequences and labels, all in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        cells = [kind(N, N, **options).double() for _ in range(M)]
        readouts = [torch.nn.Linear(N, CLASSES).double() for _ in range(M)]
        x, labels = torch.randn((M, T, B, N)).double(), torch.randint(CLASSES, (M, B))
    group = side_by_side.Networks.of(cells, readouts, rates, "cpu")
    return list(zip(cells, readouts, strict=True)), group, x, labels


def loss_of(pair, x, labels):
    """The loss of one module, by autograd's own path."""
    net, readout = pair
    return torch.nn.functional.cross_entropy(readout(net(x)[0][-1]), labels)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_scores_and_gradients_are_those_of_each_module(kind, options, shared):
    pairs, group, x, labels = networks(kind, options)
    x = x[:1] if shared else x
    losses, scores = group.losses(x, labels[:, None]), group.scores(x)
    for m, pair in enumerate(pairs):
        own = x[0 if shared else m]
        loss = loss_of(pair, own, labels[m])
        loss.backward()
        assert losses[m].item() == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(scores[m], pair[1](pair[0](own)[0][-1]), rtol=1e-12, atol=1e-14)
        with torch.no_grad():
            for parameter in (*pair[0].parameters(), *pair[1].parameters()):
                parameter.copy_(parameter.grad)
        wanted = modules.flat(*pair, gradient=True)
        torch.testing.assert_close(group.slope[m], wanted, rtol=1e-10, atol=1e-14)


def test_training_is_that_of_each_network_alone():
    rates = (1e-3, 1e-2, 1e-1)
    pairs, group, x, labels = networks(rt_torch.MinimalRNN, {"embed": True}, rates)
    with torch.no_grad():  # large weights of the readouts: the norm of the gradient is clipped
        group.weights["out"].mul_(20.0)
        for _, readout in pairs:
            readout.weight.mul_(20.0)
            readout.bias.mul_(20.0)
    for _ in range(12):
        group.update(group.losses(x, labels[:, None]))
    clipped = 0
    for m, pair in enumerate(pairs):
        parameters = [*pair[0].parameters(), *pair[1].parameters()]
        optimiser = torch.optim.Adam(parameters, rates[m])
        for _ in range(12):
            optimiser.zero_grad()
            loss_of(pair, x[m], labels[m]).backward()
            clipped += torch.nn.utils.clip_grad_norm_(parameters, training.CLIP).item() > training.CLIP
            optimiser.step()
        torch.testing.assert_close(group.flat[m], modules.flat(*pair), rtol=1e-8, atol=1e-11)
    assert clipped


def test_a_network_that_overflows_stops_alone():
    _, group, x, labels = networks(rt_torch.VanillaRNN, {})
    group.weights["out"][1, N] = float("inf")
    before = group.flat.clone()
    for _ in range(3):
        group.update(group.losses(x, labels[:, None]))
    assert torch.equal(group.flat[1], before[1]) and group.alive.tolist() == [True, False, True]
    assert group.flat[[0, 2]].isfinite().all() and not torch.equal(group.flat[0], before[0])


def test_a_slot_begins_anew():
    """A network put into a used slot trains as it would have from the start."""
    _, group, x, labels = networks(rt_torch.VanillaRNN, {})
    start = group.flat[0].clone()
    for _ in range(3):
        group.update(group.losses(x, labels[:, None]))
    after = group.flat[0].clone()
    group.put(0, start, 0.1)
    for _ in range(3):
        group.update(group.losses(x, labels[:, None]))
    torch.testing.assert_close(group.flat[0], after, rtol=1e-12, atol=1e-14)


def test_accuracies_count_over_parts():
    labels = torch.tensor([0, 1, 2, 3, 1])
    x = torch.nn.functional.one_hot(labels, CLASSES)[:, None].double()  # one step

    def score(rows):
        return torch.cat([rows[:, 0], rows[:, 0].roll(1, -1)])  # the right class, and the next one

    assert side_by_side.accuracies(score, x, labels, part=2).tolist() == [1.0, 0.0]


def test_other_modules_are_refused():
    for net in (torch.nn.RNN(2, 2, nonlinearity="relu"), rt_torch.VanillaRNN(2, 2, activation="erf")):
        with pytest.raises(TypeError, match="expected a vanilla cell with tanh"):
            modules.kind(net)
