"""The derivative with respect to weights is that of real retrainings, however it is cut up."""

import dataclasses
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.attribution.unrolling.replays import (
    NUM_STEPS,
    differences,
    gradients_at_end,
    late,
    optimizer_of,
    outcomes,
    perceptron,
    retrained,
    transformer,
    warm,
)
from thresher.attribution.unrolling import sweep
from thresher.attribution.unrolling.curvature import CURVATURES
from thresher.attribution.unrolling.losses import logits_at
from thresher.attribution.unrolling.replay import ModelReplay, Step
from thresher.attribution.unrolling.sweep import Cost, Window, keep_states, state_file, unroll
from thresher.errors import InputError

CASES = {
    "sgd": partial(perceptron, "sgd"),
    "sgd-plain": partial(perceptron, "sgd-plain"),
    "adamw": partial(perceptron, "adamw"),
    "smooth": partial(perceptron, "smooth"),
    "dropout": partial(perceptron, "smooth", dropout=0.4),
    "dropout-unseeded": partial(perceptron, "smooth", dropout=0.4, seed=None),
    "warm": partial(warm, "smooth"),
    "warm-sgd": partial(warm, "sgd"),
    "late": partial(late, whole=True),
    "head": partial(late, whole=False),
    "transformer": transformer,
}


def metagradient(make, folder, *, window=None, spacing=None, **options) -> Tensor:
    replay = make()
    stretch = Window.of(replay.num_steps, window, spacing)
    keep_states(replay, stretch, folder)
    return unroll(replay, gradients_at_end(replay), stretch, folder, **options)


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_derivative_of_real_retrainings(case, tmp_path):
    exact = differences(CASES[case])
    found = metagradient(CASES[case], tmp_path)
    assert exact.abs().max() > 1e-3
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))


def test_an_optimiser_of_another_model_is_refused():
    ours, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(InputError, match="trains no parameter of the model"):
        ModelReplay(ours, torch.optim.SGD(other.parameters(), 0.1), [], 1)


def test_some_steps_were_clipped_and_some_not():
    replay = perceptron("smooth")
    norms = [replay.record().norm for _ in range(NUM_STEPS)]
    assert min(norms) < replay.clip < max(norms)


@pytest.mark.parametrize("case", ["smooth", "transformer"])
def test_a_window_is_of_retrainings_that_differ_in_it_alone(case, tmp_path):
    exact = differences(CASES[case], start=NUM_STEPS - 3)
    found = metagradient(CASES[case], tmp_path, window=3)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))


def test_a_window_of_all_steps_is_the_whole_run(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = metagradient(CASES["smooth"], tmp_path)
    torch.testing.assert_close(metagradient(CASES["smooth"], tmp_path / "whole", window=NUM_STEPS), whole)


@pytest.mark.parametrize("case", ["smooth", "sgd", "transformer"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_neither_the_number_of_states_nor_of_rows_changes_it(case, curvature, tmp_path):
    results = []
    for name, options in {
        "usual": {},
        "few": {"spacing": NUM_STEPS},
        "all": {"spacing": 1},
        "rows": {"most": 1},
    }.items():
        (tmp_path / name).mkdir()
        results.append(metagradient(CASES[case], tmp_path / name, curvature=curvature, **options))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-9, atol=1e-12)


def test_targets_do_not_see_each_other(tmp_path):
    replay = transformer()
    window = Window.of(replay.num_steps)
    keep_states(replay, window, tmp_path)
    gradients = gradients_at_end(replay)
    both = unroll(replay, gradients, window, tmp_path)
    (tmp_path / "cotangents.safetensors").unlink()
    second = unroll(replay, {name: value[1:] for name, value in gradients.items()}, window, tmp_path)
    torch.testing.assert_close(second[0], both[1], rtol=1e-9, atol=1e-12)


class OneNumber(nn.Module):
    """Logistic regression with the one parameter x: log odds x * input."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, values: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(values), self.x * values], dim=1)


def test_two_steps_by_hand(tmp_path):
    """x1 = x0 - r w1 f1'(x0), x2 = x1 - r w2 f2'(x1); f(x) = log(1 + exp(-x a)) for input a and label 1."""
    a, b, c, rate = 1.5, -0.7, 2.0, 0.4

    def slope(x, value):
        return -value / (1 + math.exp(x * value))

    def bend(x, value):
        return value**2 * math.exp(x * value) / (1 + math.exp(x * value)) ** 2

    x0 = 0.3
    x1 = x0 - rate * slope(x0, a)
    x2 = x1 - rate * slope(x1, b)
    expected = [
        slope(x2, c) * (1 - rate * bend(x1, b)) * -rate * slope(x0, a),
        slope(x2, c) * -rate * slope(x1, b),
        0.0,
    ]
    model = OneNumber()
    one = torch.ones(1, dtype=torch.int64)
    batches = [
        ({"pixel_values": torch.tensor([value], dtype=torch.float64), "labels": one}, torch.tensor([i]))
        for i, value in enumerate((a, b))
    ]
    replay = ModelReplay(model, optimizer_of("sgd-plain", [{"params": [model.x]}], rate), batches, 3)
    window = Window.of(2)
    keep_states(replay, window, tmp_path)
    assert model.x.item() == pytest.approx(x2, rel=1e-12)
    gradient = torch.tensor([slope(x2, c)], dtype=torch.float64)
    found = unroll(replay, {"x": gradient}, window, tmp_path)
    assert found[0].tolist() == pytest.approx(expected, rel=1e-9)


def dense_gauss_newton(model: nn.Module, step: Step, names: list[str]) -> Tensor:
    """J^T H J / N, dense, by autograd's Jacobian."""
    (part,) = step.parts
    sizes = [step.parameters[name].shape for name in names]

    def logits(flat):
        values = flat.split([size.numel() for size in sizes])
        named = {name: value.view(size) for name, value, size in zip(names, values, sizes, strict=True)}
        return logits_at(model, named, part.batch, part.owners).logits

    flat = torch.cat([step.parameters[name].flatten() for name in names])
    jacobian = torch.autograd.functional.jacobian(logits, flat)
    p = logits(flat).detach().softmax(dim=1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    return torch.einsum("ncp,ncd,ndq->pq", jacobian, inner, jacobian) / step.total


def dense_fisher(model: nn.Module, step: Step, names: list[str]) -> Tensor:
    rows = per_example(model, step, names)
    return step.total * rows.T @ rows


def per_example(model: nn.Module, step: Step, names: list[str]) -> Tensor:
    """Each example's share of the gradient, [n, p]."""
    (part,) = step.parts
    leaves = {name: value.clone().requires_grad_() for name, value in step.parameters.items()}
    read = logits_at(model, leaves, part.batch, part.owners)
    losses = nn.functional.cross_entropy(read.logits, read.labels, reduction="none") / step.total
    rows = torch.zeros(len(step.weights), sum(leaves[name].numel() for name in names), dtype=losses.dtype)
    for loss, owner in zip(losses, read.owners.tolist(), strict=True):
        gradients = torch.autograd.grad(loss, [leaves[name] for name in names], retain_graph=True)
        rows[owner] += torch.cat([gradient.flatten() for gradient in gradients])
    return rows


@pytest.mark.parametrize("kind", ["sgd", "smooth"])
@pytest.mark.parametrize(("curvature", "dense"), [("gauss-newton", dense_gauss_newton), ("fisher", dense_fisher)])
def test_other_curvatures_are_the_dense_unrolled_product(kind, curvature, dense, tmp_path):
    """Every step is a function of parameters and moments with a linear gradient; its Jacobian is by autograd."""
    replay = perceptron(kind)
    replay.clip = None  # linearised below is the update without it
    names = replay.names
    window = Window.of(replay.num_steps)
    keep_states(replay, window, tmp_path)
    gradients = gradients_at_end(replay)
    found = unroll(replay, gradients, window, tmp_path, curvature=curvature)

    replay.restore(state_file(tmp_path, 0))
    steps = [replay.record() for _ in range(replay.num_steps)]
    size = sum(steps[0].parameters[name].numel() for name in names)
    moved = torch.zeros(size * (3 if kind == "smooth" else 2), replay.num_examples, dtype=torch.float64)
    state = torch.zeros(len(moved), dtype=torch.float64)
    state[:size] = torch.cat([steps[0].parameters[name].flatten() for name in names])
    decay = torch.cat(
        [torch.full((p.numel(),), 0.2 if p.ndim > 1 else 0.0) for p in replay.model.parameters()]
    ).double()
    for number, step in enumerate(steps):
        matrix, rows = dense(replay.model, step, names), per_example(replay.model, step, names)
        at = state[:size].clone()
        rate = step.rules[names[0]].rate

        def update(state, change, at=at, matrix=matrix, rows=rows, rate=rate, count=number + 1):
            x, gradient = state[:size], rows.T @ (1 + change) + matrix @ (state[:size] - at)
            if kind == "sgd":
                buffer = 0.9 * state[size:] + gradient + decay * x
                return torch.cat([x - rate * buffer, buffer])
            m = 0.8 * state[size : 2 * size] + 0.2 * gradient
            v = 0.9 * state[2 * size :] + 0.1 * gradient**2
            root = (v / (1 - 0.9**count) + 1e-4).sqrt() + 1e-3
            return torch.cat([(1 - rate * decay) * x - rate * m / (1 - 0.8**count) / root, m, v])

        zero = torch.zeros(replay.num_examples, dtype=torch.float64)
        by_state, by_weight = torch.autograd.functional.jacobian(update, (state, zero))
        moved, state = by_state @ moved + by_weight, update(state, zero)
    end = torch.cat([gradients[name].flatten(1) for name in names], dim=1)
    torch.testing.assert_close(found, end @ moved[:size], rtol=1e-7, atol=1e-10)


def test_a_killed_sweep_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "SECONDS_BETWEEN_SAVES", 0.0)
    whole = metagradient(CASES["smooth"], tmp_path)
    (tmp_path / "killed").mkdir()
    back, taken = sweep._Sweep.back, []

    def until(self, step):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(self.step)
        back(self, step)

    monkeypatch.setattr(sweep._Sweep, "back", until)
    with pytest.raises(KeyboardInterrupt):
        metagradient(CASES["smooth"], tmp_path / "killed")
    monkeypatch.setattr(sweep._Sweep, "back", lambda self, step: (taken.append(self.step), back(self, step)))
    again = metagradient(CASES["smooth"], tmp_path / "killed")
    assert len(taken) < 5 + NUM_STEPS
    torch.testing.assert_close(again, whole)


def test_a_training_that_is_not_the_one_is_refused(tmp_path):
    replay = perceptron("smooth")
    window = Window.of(replay.num_steps)
    keep_states(replay, window, tmp_path)
    gradients = gradients_at_end(replay)
    other, record = perceptron("smooth").parts()[0], replay.record
    replay.record = lambda: dataclasses.replace(record(), parts=other)  # as if every step had read the first batch
    with pytest.raises(InputError, match="is not the one that training had"):
        unroll(replay, gradients, window, tmp_path)


def test_what_cannot_be_gone_back_through_is_refused(tmp_path):
    replay = perceptron("sgd")
    replay.optimizer = torch.optim.SGD(replay.model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    with pytest.raises(InputError, match="SGD with nesterov"):
        replay.record()
    for wrong in (0, NUM_STEPS + 1):
        with pytest.raises(InputError, match=f"window={wrong}"):
            Window.of(NUM_STEPS, wrong)
    with pytest.raises(InputError, match="spacing=0"):
        Window.of(NUM_STEPS, spacing=0)
    advanced = perceptron("sgd")
    advanced.advance()
    with pytest.raises(InputError, match="stands at step 1"):
        keep_states(advanced, Window.of(NUM_STEPS), tmp_path)


def test_the_cost_grows_with_the_window_and_the_targets():
    replay = perceptron("smooth")
    whole, part = (Cost.of(replay, Window.of(NUM_STEPS, window, 2), 1, "hessian") for window in (None, 3))
    assert whole.passes > part.passes > 1 and whole.disk > part.disk
    assert Cost.of(replay, Window.of(NUM_STEPS), 4, "hessian").memory > whole.memory


def test_weights_reach_the_end_only_through_their_steps(tmp_path):
    """Seen from the other side: an example that no step reads changes nothing, and its derivative is 0."""
    make = CASES["sgd"]
    replay = make()
    last = {int(i) for i in replay._batches[-1][1]}
    unread = next(i for i in range(replay.num_examples) if i not in last)
    found = metagradient(make, tmp_path, window=1)
    assert found[:, unread].tolist() == [0.0, 0.0]
    torch.testing.assert_close(retrained(make, unread, 5.0, NUM_STEPS - 1), retrained(make, unread, 1.0))
    assert outcomes(replay).shape == (2,)
