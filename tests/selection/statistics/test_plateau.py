"""The plateau of learning rates, the Hessian's largest eigenvalue, and why small rates rank data."""

import numpy as np
import pytest
import torch

from tests.attribution.cases import digits, token_examples
from thresher.errors import InputError
from thresher.proxies.curvature import largest_eigenvalue
from thresher.selection.statistics.plateau import find_plateau, recommend

RATES = (1e-5, 1e-4, 1e-3, 1e-2)


def losses_of(orders, noise=0.0, seeds=2):
    rng = np.random.default_rng(0)
    return np.array(
        [[[3 + 0.1 * place + noise * rng.normal() for _ in range(seeds)] for place in order] for order in orders]
    )


def test_the_largest_rate_before_the_ranking_changes_is_recommended():
    orders = [(0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 4, 3), (4, 2, 3, 0, 1)]
    found = find_plateau(RATES, losses_of(orders, noise=0.001), np.full((4, 5), 0.1))
    assert [rate.on_plateau for rate in found] == [True, True, True, False]
    assert recommend(found).learning_rate == 1e-3 and found[0].tau_below is None
    assert found[1].tau_below == pytest.approx(1) and found[2].tau_below == pytest.approx(0.8)
    assert found[0].spread_over_noise > 20


def test_rates_at_which_a_recipe_has_not_trained_are_no_part_of_it():
    orders = [(4, 3, 2, 1, 0), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)]
    drops = np.full((4, 5), 0.1)
    drops[0, 2] = 0.001
    found = find_plateau(RATES, losses_of(orders), drops)
    assert [rate.trained for rate in found] == [False, True, True, True]
    assert recommend(found).learning_rate == 1e-2 and not found[0].on_plateau
    assert recommend(find_plateau(RATES, losses_of(orders), np.zeros((4, 5)))) is None


def test_a_lowest_rate_that_only_noise_ranks_does_not_end_the_plateau():
    orders = [(4, 0, 3, 1, 2), (0, 1, 2, 3, 4), (0, 1, 2, 4, 3), (0, 2, 1, 4, 3)]
    clear, noisy = losses_of(orders, noise=0.001), losses_of(orders, noise=0.02)
    found = find_plateau(RATES, np.concatenate([noisy[:1], clear[1:]]), np.full((4, 5), 0.1))
    # The last ranks as its neighbour does (.8), and no longer as the first of the plateau (.6).
    assert [rate.on_plateau for rate in found] == [False, True, True, False]
    assert found[3].tau_below == pytest.approx(0.8)
    # As sure of its own ranking as the others, it is believed.
    alike = find_plateau(RATES, losses_of(orders), np.full((4, 5), 0.1))
    assert [rate.on_plateau for rate in alike] == [True, False, False, False]


def test_rates_out_of_order_and_diverged_runs_are_refused():
    losses, drops = losses_of([(0, 1, 2)] * 2), np.full((2, 3), 0.1)
    with pytest.raises(InputError, match="from low to high"):
        find_plateau((1e-2, 1e-3), losses, drops)
    losses[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        find_plateau((1e-3, 1e-2), losses, drops)


@pytest.mark.parametrize("kind", ["images", "text"])
def test_the_eigenvalue_is_that_of_the_dense_hessian(tmp_path, kind):
    torch.manual_seed(0)
    if kind == "images":
        examples = digits(tmp_path / "pool", slice(0, 40))
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4), torch.nn.Tanh(), torch.nn.Linear(4, 10))
    else:
        import transformers

        examples = token_examples(tmp_path / "pool", np.full(16, 8))
        config = transformers.GPT2Config(vocab_size=19, n_positions=12, n_embd=4, n_layer=1, n_head=2, resid_pdrop=0.0,
                                         embd_pdrop=0.0, attn_pdrop=0.0)  # fmt: skip
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model = model.double() if kind == "images" else model
    found = largest_eigenvalue(_Double(model) if kind == "images" else model, examples, num_iterations=60,
                               tolerance=1e-4, batch_size=40, device="cpu")  # fmt: skip
    exact = torch.linalg.eigvalsh(_dense(model, examples))
    assert found == pytest.approx(float(exact[exact.abs().argmax()]), rel=2e-2)


class _Double(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values.double())


def _dense(model, examples):
    from thresher.proxies.training.objective import training_loss

    parameters = [p for p in model.parameters() if p.requires_grad]
    batch = examples.batch(np.arange(len(examples)))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        runner = _Double(model) if "pixel_values" in batch else model
        loss = training_loss(runner, batch, None)
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
        eye = torch.eye(len(flat), dtype=flat.dtype)
        rows = torch.autograd.grad(flat, parameters, eye, is_grads_batched=True, materialize_grads=True)
    hessian = torch.cat([part.flatten(1) for part in rows], dim=1).double()
    return (hessian + hessian.T) / 2


def test_small_rates_keep_the_order_of_optimal_losses_in_random_feature_regression():
    """SGD on random features. Recipe A has exact labels of a slightly wrong function, B noisy labels of the right one:
    B's optimum is better, but noise costs it in proportion to the rate, so a large rate ranks A first."""
    rng = np.random.default_rng(0)
    width, steps = 60, 40_000
    first, truth = rng.normal(size=(5, width)), rng.normal(size=width)

    def features(inputs):
        return np.tanh(inputs @ first) / np.sqrt(width)

    test = features(rng.normal(size=(2000, 5)))
    labels, wrong = test @ truth, truth + 0.35 * rng.normal(size=width)
    optimal = {"A": np.mean((test @ wrong - labels) ** 2), "B": 0.0}
    assert optimal["B"] < optimal["A"]

    def final(recipe, rate):
        weights, tail = np.zeros(width), np.zeros(width)
        for _ in range(steps):
            row = features(rng.normal(size=(1, 5)))[0]
            label = row @ (wrong if recipe == "A" else truth) + (0.6 * rng.normal() if recipe == "B" else 0)
            weights -= rate * (row @ weights - label) * row
            tail = weights
        return np.mean((test @ tail - labels) ** 2)

    small, large = ({recipe: final(recipe, rate) for recipe in "AB"} for rate in (0.05, 1.8))
    assert small["B"] < small["A"]
    assert large["B"] > large["A"]
