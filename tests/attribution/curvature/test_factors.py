"""EK-FAC factors against per-example autograd, curvlinops and themselves in other batches."""

import numpy as np
import pytest
import torch
from curvlinops import EKFACLinearOperator, FisherType
from torch import nn

from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import Double, cnn, gpt2, mlp
from thresher.attribution.curvature.ekfac import EKFAC
from thresher.attribution.curvature.factors import Factors, fit_factors
from thresher.attribution.curvature.sampled import SampledLabels, predictions
from thresher.data.batches import all_of
from thresher.errors import InputError
from thresher.outputs import logits_of


def own_labels(self, logits, batch):
    """In place of drawn labels, those of the data: the empirical Fisher, which other packages compute alike."""
    places, counts = predictions(logits, batch["labels"])
    labels = batch["labels"] if logits.ndim == 2 else batch["labels"].roll(-1, dims=1)
    scales = torch.from_numpy(np.repeat(np.sqrt(self.shares / np.maximum(counts, 1)), counts)).to(logits)
    gradients = torch.zeros_like(logits)
    gradients[places] = logits[places].softmax(dim=1) - nn.functional.one_hot(labels[places], logits.shape[-1])
    gradients[places] *= scales[:, None]
    return gradients


def plain_cnn(seed):
    """Each layer in one place: of a layer in two curvlinops takes each use by itself."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 5, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(5, 4, 2, bias=False), nn.GroupNorm(2, 4)]
    return nn.Sequential(Double(), *layers, nn.Tanh(), nn.Flatten(), nn.Linear(36, 10)).double().eval()


def windows_of(part):
    for members in part.memberships(1):
        yield part.numbers(members), part.shares(members).weights, part.batch(members)


def group_gradients(model, part, group, seed=0):
    """[w, m, n]: the matrix of the group of each window, by autograd, labels drawn."""
    rows = []
    for numbers, shares, batch in windows_of(part):
        logits = logits_of(model, batch)
        parameters = [model.get_parameter(name) for name in group.names]
        drawn = SampledLabels(seed, numbers, shares)(logits.detach(), batch)
        made = torch.autograd.grad(logits, parameters, drawn, materialize_grads=True)
        rows.append(group.matrices({name: g[None] for name, g in zip(group.names, made, strict=True)})[0])
    return torch.stack(rows)


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
def test_eigenvalues_are_mean_squares_of_rotated_example_gradients(tmp_path, make):
    pool, _ = dual_cases.examples(tmp_path, make)
    model, part = make(0), all_of(pool)
    factors = fit_factors(model, part)
    assert {name for name, _ in model.named_parameters()} == set(factors.names)
    for factor in factors.blocks:
        gradients = group_gradients(model, part, factor.group)
        rotated = gradients if factor.left is None else factor.left.T @ gradients
        rotated = rotated if factor.right is None else rotated @ factor.right
        expected = rotated.square().sum(dim=0) / len(pool)
        torch.testing.assert_close(factor.eigenvalues, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
def test_blocks_of_one_side_are_the_exact_fisher_and_their_traces_always_are(tmp_path, make):
    pool, _ = dual_cases.examples(tmp_path, make)
    model = make(0)
    for factor in fit_factors(model, all_of(pool)).blocks:
        gradients = group_gradients(model, all_of(pool), factor.group).flatten(1)
        fisher = gradients.T @ gradients / len(pool)
        torch.testing.assert_close(factor.eigenvalues.sum(), fisher.trace())
        if factor.group.shape[1] == 1 and factor.left is not None:
            dense = factor.left @ torch.diag(factor.eigenvalues[:, 0]) @ factor.left.T
            torch.testing.assert_close(dense, fisher, rtol=1e-6, atol=1e-10)


def test_embedding_and_tied_head_have_no_vocabulary_sized_matrix(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, gpt2)
    factors = fit_factors(gpt2(0), all_of(pool))
    sides = {factor.group.weight: (factor.left, factor.right) for factor in factors.blocks}
    assert sides["transformer.wte.weight"][0] is None and sides["transformer.wpe.weight"][0] is None
    assert sides["transformer.wte.weight"][1] is not None


@pytest.mark.parametrize("make", [cnn, gpt2])
def test_factors_do_not_depend_on_batches_or_order(tmp_path, make):
    pool, _ = dual_cases.examples(tmp_path, make)
    first = fit_factors(make(0), all_of(pool))
    second = fit_factors(make(0), all_of(pool, batch_tokens=12 if make is gpt2 else 5))
    vectors = {name: torch.randn(2, *p.shape, dtype=torch.float64) for name, p in make(0).named_parameters()}
    for name, value in EKFAC(first).solve(vectors).items():
        torch.testing.assert_close(EKFAC(second).solve(vectors)[name], value, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("make", [mlp, plain_cnn])
def test_linear_layers_and_convolutions_have_the_ekfac_of_curvlinops(tmp_path, make, monkeypatch):
    monkeypatch.setattr(SampledLabels, "__call__", own_labels)
    pool, _ = dual_cases.examples(tmp_path, make)
    model = make(0)
    kept = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    layers = {id(parameter) for module in kept for parameter in module.parameters()}
    chosen = {name: p for name, p in model.named_parameters() if id(p) in layers}
    ekfac = EKFAC(fit_factors(model, all_of(pool), parameters="|".join(f"^{name}$" for name in chosen)))
    batch = pool.batch(range(len(pool)))
    theirs = EKFACLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        list(chosen.values()),
        [(batch["pixel_values"], batch["labels"])],
        fisher_type=FisherType.EMPIRICAL,
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    torch.manual_seed(0)
    vectors = {name: torch.randn(1, *p.shape, dtype=torch.float64) for name, p in chosen.items()}
    expected = theirs @ [value[0] for value in vectors.values()]
    damped, extra = ekfac.product(vectors), ekfac.damp(vectors)
    for name, value in zip(chosen, expected, strict=True):
        torch.testing.assert_close((damped[name] - extra[name])[0], value, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
def test_solve_undoes_the_damped_product(tmp_path, make):
    pool, _ = dual_cases.examples(tmp_path, make)
    ekfac = EKFAC(fit_factors(make(0), all_of(pool)))
    vectors = {name: torch.randn(3, *p.shape, dtype=torch.float64) for name, p in make(0).named_parameters()}
    back = ekfac.product(ekfac.solve(vectors))
    for name, value in vectors.items():
        torch.testing.assert_close(back[name], value)


def test_each_kind_of_group_may_be_damped_by_itself(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, gpt2)
    factors = fit_factors(gpt2(0), all_of(pool))
    kinds = {factor.group.weight: factor.group.kind for factor in factors.blocks}
    assert {kinds[name] for name in kinds if "wte" in name or "wpe" in name} == {"embedding"}
    assert {kinds[name] for name in kinds if "ln_" in name} == {"norm"}
    assert {kinds[name] for name in kinds if "c_attn.weight" in name or "c_fc.weight" in name} == {"linear"}
    mixed = EKFAC(factors, {"embedding": 2.0, "norm": 0.5})
    for factor in factors.blocks:
        damping = {"embedding": 2.0, "norm": 0.5}.get(factor.group.kind, 0.1)
        assert mixed.shift(factor) == EKFAC(factors, damping).shift(factor)


@pytest.mark.parametrize(
    ("damping", "said"),
    [({"embeddings": 1.0}, "nearest: 'embedding'"), ({"norm": 0.0}, "damping of norm=0.0"), (0.0, "damping=0.0")],
)
def test_damping_of_no_kind_or_out_of_range_is_refused(damping, said):
    with pytest.raises(InputError, match=said):
        EKFAC(Factors(()), damping)
