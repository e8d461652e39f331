"""Gauss-Newton products against curvlinops and dense matrices, and conjugate gradients against a dense solve."""

import numpy as np
import pytest
import torch
from curvlinops import GGNLinearOperator
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import cnn, gpt2, gradients, mlp
from thresher.attribution.curvature import conjugate_gradients
from thresher.attribution.curvature.ekfac import EKFAC
from thresher.attribution.curvature.factors import fit_factors
from thresher.attribution.curvature.gauss_newton import AT_ONCE, GaussNewton
from thresher.attribution.curvature.vectors import flatten, unflatten
from thresher.data.batches import all_of
from thresher.outputs import logits_of


def named(model, num, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {n: torch.randn(num, *p.shape, dtype=torch.float64, generator=rng) for n, p in model.named_parameters()}


def dense(model, part):
    """The Gauss-Newton matrix from the Jacobian of every logit that predicts."""
    parameters = list(model.parameters())
    total = 0
    for members in part.memberships(1):
        batch, share = part.batch(members), float(part.shares(members).weights[0])
        with sdpa_kernel(SDPBackend.MATH):
            logits, labels = logits_of(model, batch)[0], batch["labels"][0]
        rows = logits[:-1][labels[1:] != -100] if logits.ndim == 2 else logits[None]
        with sdpa_kernel(SDPBackend.MATH):
            units = torch.eye(rows.numel(), dtype=rows.dtype).view(-1, *rows.shape)
            made = torch.autograd.grad(rows, parameters, units, is_grads_batched=True, materialize_grads=True)
        jacobian = torch.cat([g.flatten(1) for g in made], dim=1).view(*rows.shape, -1)
        p = rows.detach().softmax(dim=1)
        inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        total = total + share / len(rows) * torch.einsum("tcp,tcd,tdq->pq", jacobian, inner, jacobian)
    return total / len(part)


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
@pytest.mark.parametrize("batch_tokens", [None, 12])
def test_products_are_those_of_the_dense_matrix_whatever_the_batches(tmp_path, make, batch_tokens):
    pool, _ = dual_cases.examples(tmp_path, make)
    model, part = make(0), all_of(pool, batch_tokens)
    vectors = named(model, AT_ONCE + 1)
    product = GaussNewton(model, list(vectors), part).product(vectors)
    torch.testing.assert_close(flatten(product), flatten(vectors) @ dense(model, part), rtol=1e-6, atol=1e-9)


class Called(nn.Module):
    """A model of images as a package calls it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return logits_of(self.model, {"pixel_values": images})


def test_products_are_those_of_curvlinops(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, cnn)
    model, vectors = cnn(0), named(cnn(0), 1)
    batch = pool.batch(range(len(pool)))
    data = [(batch["pixel_values"], batch["labels"])]
    called, parameters = Called(model), list(model.parameters())
    theirs = GGNLinearOperator(called, nn.CrossEntropyLoss(), parameters, data, check_deterministic=False)
    expected = theirs @ [value[0] for value in vectors.values()]
    product = GaussNewton(model, list(vectors), all_of(pool)).product(vectors)
    for (name, value), other in zip(product.items(), expected, strict=True):
        torch.testing.assert_close(value[0], other, rtol=1e-4, atol=1e-10, msg=name)


@pytest.mark.parametrize("make", [mlp, cnn, gpt2])
def test_preconditioned_solves_are_dense_ones_and_objectives_fall(tmp_path, make):
    pool, target = dual_cases.examples(tmp_path, make)
    model, part = make(0), all_of(pool)
    right = dual_cases.named(model, gradients(model, target)[0][:3])
    ekfac = EKFAC(fit_factors(model, part), 0.5)
    names, newton = list(right), GaussNewton(model, list(right), part)

    def damped(rows):
        vectors = unflatten(rows, newton.parameters)
        product, extra = newton.product(vectors), ekfac.damp(vectors)
        return flatten({name: product[name] + extra[name] for name in names})

    def precondition(rows):
        return flatten(ekfac.solve(unflatten(rows, newton.parameters)))

    rows = flatten(right)
    shifts = flatten(ekfac.damp({name: torch.ones(1, *p.shape).double() for name, p in newton.parameters.items()}))[0]
    exact = torch.linalg.solve(dense(model, part) + torch.diag(shifts), rows.T).T
    options = {"precondition": precondition, "start": precondition(rows), "num_steps": 300, "tolerance": 1e-9}
    solution = conjugate_gradients.solve(damped, rows, **options)
    torch.testing.assert_close(solution.x, exact, rtol=1e-4, atol=1e-6 * float(exact.abs().max()))
    objectives = np.array(solution.objectives)
    assert (np.diff(objectives, axis=0) <= 1e-9 * abs(objectives[-1])).all()
    plain = conjugate_gradients.solve(damped, rows, num_steps=5, tolerance=0)
    assert (objectives[5] < np.array(plain.objectives)[5]).all()


def test_right_hand_sides_do_not_disturb_each_other():
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(30, 12, dtype=torch.float64, generator=rng)
    matrix = root.T @ root + 0.1 * torch.eye(12)
    rows = torch.randn(3, 12, dtype=torch.float64, generator=rng)
    rows[1] = 0
    together = conjugate_gradients.solve(lambda x: x @ matrix, rows, num_steps=40, tolerance=1e-8)
    for i in (0, 2):
        alone = conjugate_gradients.solve(lambda x: x @ matrix, rows[[i]], num_steps=40, tolerance=1e-8)
        torch.testing.assert_close(together.x[[i]], alone.x)
        torch.testing.assert_close(together.x[i], torch.linalg.solve(matrix, rows[i]))
    assert not together.x[1].any()


def test_steps_stop_at_the_tolerance():
    matrix = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    row = torch.ones(1, 8, dtype=torch.float64)
    solution = conjugate_gradients.solve(lambda x: x @ matrix, row, num_steps=50, tolerance=0.05)
    assert solution.residuals[-1][0] <= 0.05 < solution.residuals[-2][0]
    assert len(solution.residuals) < 9
