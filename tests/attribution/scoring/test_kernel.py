"""The kernel against explicit inverses, and the choice of damping against leaving examples out."""

import numpy as np
import pytest
import torch

from tests.attribution.cases import dense, synthetic_store
from thresher.attribution.scoring.damping import GRID, choose_damping, leave_one_out_errors
from thresher.attribution.scoring.kernel import factorise, fit_kernel, gram, usual_damping
from thresher.errors import InputError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return synthetic_store(tmp_path_factory.mktemp("trak") / "pool", n=150, k=11, shard_size=64)


def test_the_streamed_gram_matrix_is_the_dense_one(store):
    phi = dense(store, 0)
    np.testing.assert_allclose(gram(store, 0).numpy(), phi.T @ phi, rtol=1e-12, atol=1e-12)


def test_solving_is_multiplying_with_the_damped_inverse(store):
    kernel = fit_kernel(store, 0, damping=0.7)
    matrix = gram(store, 0).numpy()
    inverse = np.linalg.inv(matrix + 0.7 * np.diag(matrix).mean() * np.eye(11))
    vectors = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(kernel.solve(vectors).numpy(), inverse @ vectors.double().numpy(), rtol=1e-9)
    white = kernel.whiten(vectors)
    np.testing.assert_allclose((white.T @ white).numpy(), vectors.T.double() @ inverse @ vectors.double(), rtol=1e-9)
    assert kernel.facts["relative_damping"] == pytest.approx(0.7)


def test_traker_divides_the_inverse_by_its_mean_absolute_entry(store):
    inverse = np.linalg.inv(gram(store, 0).numpy())
    expected = inverse / np.abs(inverse).mean()
    found = fit_kernel(store, 0, damping=None, convention="traker").solve(torch.eye(11))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8)


def test_dattri_damps_the_kernel_of_features_over_sqrt_k(store):
    phi = dense(store, 0) / np.sqrt(11)
    expected = phi @ np.linalg.inv(phi.T @ phi + 0.3 * np.eye(11)) @ phi.T
    kernel = fit_kernel(store, 0, damping=0.3, convention="dattri")
    found = dense(store, 0) @ kernel.solve(torch.from_numpy(dense(store, 0).T)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_a_singular_kernel_is_solved_with_a_reported_shift(tmp_path):
    few = synthetic_store(tmp_path / "few", n=5, k=9)
    kernel = fit_kernel(few, 0, damping=0.0)
    assert 0 < kernel.shift < 1e-8 * kernel.mean_diagonal
    assert bool(kernel.solve(torch.eye(9)).isfinite().all())
    assert fit_kernel(few, 0, damping=0.1).shift == 0


def test_leave_one_out_errors_are_those_of_leaving_each_example_out(store):
    phi, f = dense(store, 0), store.outputs(0)["margin"].astype(np.float64)
    f = f - f.mean()
    matrix = phi.T @ phi
    found = leave_one_out_errors(store, 0, gram(store, 0), (0.01, 2.0))
    for multiple, error in zip((0.01, 2.0), found, strict=True):
        damped = multiple * np.diag(matrix).mean() * np.eye(11)
        residuals = []
        for i in range(150):
            rest = np.arange(150) != i
            weights = np.linalg.solve(phi[rest].T @ phi[rest] + damped, phi[rest].T @ f[rest])
            residuals.append(f[i] - phi[i] @ weights)
        assert error == pytest.approx(np.mean(np.square(residuals)), rel=1e-6)


def test_the_chosen_damping_has_the_least_error_and_is_never_zero(store):
    errors = leave_one_out_errors(store, 0, gram(store, 0), GRID)
    assert choose_damping(store, 0, gram(store, 0)) == GRID[int(errors.argmin())] > 0
    chosen = fit_kernel(store, 0, damping="loo").facts["relative_damping"]
    assert chosen == pytest.approx(GRID[int(errors.argmin())])


def test_damping_is_one_mean_diagonal_unless_given(store):
    assert fit_kernel(store, 0, damping=None).facts["relative_damping"] == pytest.approx(1.0)


def test_damping_is_never_less_than_the_exact_kernels(tmp_path):
    few = synthetic_store(tmp_path / "few", n=12, k=9)
    phi = dense(few, 0)
    assert fit_kernel(few, 0, damping=None).damping == pytest.approx(3 * np.square(phi).sum() / 12)
    assert [usual_damping(k, 3000) for k in (10, 1000, 8000)] == [1.0, 1.0, 8.0]


@pytest.mark.parametrize(
    "options",
    [
        {"damping": -1.0},
        {"damping": float("nan")},
        {"damping": 1, "convention": "trak"},
        {"damping": "auto"},
        {"damping": "loo", "convention": "traker"},
    ],
)
def test_bad_options_are_refused(store, options):
    with pytest.raises(InputError, match=r"is out of range|is unknown|is not part of"):
        fit_kernel(store, 0, **options)


def test_all_zero_features_are_refused():
    with pytest.raises(InputError, match="all features are zero"):
        factorise(torch.zeros(4, 4).double(), 1.0)
