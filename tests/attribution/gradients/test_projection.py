"""Projections: unbiased, reproducible, equal to traker's where they say so, and refused when they lose everything."""

import math

import pytest
import torch
from torch import nn
from trak.projectors import BasicProjector, ProjectionType

from thresher.attribution.gradients.blocks import Block, layer_sizes, masked_blocks, two_sided_blocks
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.attribution.gradients.projection import PROJECTIONS, Identity, check_projection, make_projector
from thresher.attribution.gradients.streamed import SumOfSketches
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.seeds import derive


@pytest.mark.parametrize("kind", ["normal", "rademacher"])
@pytest.mark.parametrize(("k", "model_id"), [(37, 0), (230, 3)])
def test_dense_projections_equal_those_of_traker(kind, k, model_id) -> None:
    rows = torch.randn(5, 313, generator=torch.Generator().manual_seed(1))
    theirs = BasicProjector(313, k, seed=7, proj_type=ProjectionType(kind), device="cpu", model_id=model_id)
    with full_float32():
        expected = theirs.project(rows, model_id=model_id) / math.sqrt(313)
    found = make_projector(kind, 313, k, seed=7, model_id=model_id)(rows)
    torch.testing.assert_close(found, expected)


def test_dense_blocks_drawn_anew_for_each_batch_are_the_same(monkeypatch) -> None:
    rows = torch.randn(5, 313)
    kept = make_projector("normal", 313, 230, seed=7)(rows)
    monkeypatch.setattr("thresher.attribution.gradients.projection.DENSE_KEPT", 0)
    drawn = make_projector("normal", 313, 230, seed=7)
    torch.testing.assert_close(drawn(rows), kept)
    assert torch.equal(drawn(rows), drawn(rows))


@pytest.mark.parametrize(
    ("projection", "size"),
    [
        *((name, 700) for name in ("normal", "rademacher", "sjlt", "mask+sjlt", "two-sided", "two-sided-layers")),
        *((name, 300_000) for name in ("sjlt", "mask+sjlt", "two-sided")),
    ],
)
def test_inner_products_are_kept_in_expectation(projection, size) -> None:
    x, y = torch.randn(2, size)
    y += 0.5 * x
    vectors, k = torch.stack([x, y]), 40
    true = vectors @ vectors.T
    found = []
    for seed in range(60 if size == 700 else 20):
        projector = make_projector(projection, size, k, seed=seed)
        features = projector(vectors)
        found.append(features @ features.T / projector.scale / true)
    ratios = torch.stack(found)
    error = ratios.std(dim=0) / math.sqrt(len(ratios))
    assert ((ratios.mean(dim=0) - 1).abs() < 4 * error).all()
    assert (error * math.sqrt(len(ratios)) < 3 * math.sqrt(2 / k) / (true[0, 1] / true[0, 0])).all()


@pytest.mark.parametrize(
    ("plan", "kept"),
    [(two_sided_blocks, [(16, 16), (19, 16), (23, 1)]), (masked_blocks, [(32, 32), (19, 32), (23, 1)])],
)
def test_projected_blocks_keep_inner_products_in_expectation(plan, kept) -> None:
    torch.manual_seed(0)
    parameters = {
        "a": nn.Parameter(torch.zeros(70, 45)),
        "b": nn.Parameter(torch.zeros(19, 3, 5, 5)),
        "c": nn.Parameter(torch.zeros(23)),
    }
    gradients = {name: torch.randn(2, *parameter.shape) for name, parameter in parameters.items()}
    true = sum(gradient.flatten(1) @ gradient.flatten(1).T for gradient in gradients.values())
    found = []
    for seed in range(60):
        blocks = plan(parameters, k=8, seed=seed)
        rows = torch.cat([block.project(gradients[name]) for name, block in blocks.items()], dim=1)
        assert rows.shape[1] == sum(block.size for block in blocks.values())
        found.append(rows @ rows.T)
    products = torch.stack(found)
    error = products.std(dim=0) / math.sqrt(len(products))
    assert ((products.mean(dim=0) - true).abs() < 4 * error).all()
    assert [blocks[name].kept_shape for name in "abc"] == kept


def test_a_sparse_sketch_to_more_than_the_row_is_an_isometry() -> None:
    rows = torch.randn(6, 29)
    features = make_projector("sjlt", 29, 64, seed=0)(rows)
    assert features.shape == (6, 64)
    torch.testing.assert_close(features @ features.T, rows @ rows.T)


def _sides(block):
    both = zip(block.matrix_shape, (block.rows, block.cols), strict=True)
    return [torch.eye(size) if side is None else side for size, side in both]


@full_float32()
def explicit(projection, model, k, seed, model_id):
    """The whole sketch as one matrix [P, k], of what it does to the unit vectors of each parameter."""
    parameters = dict(model.named_parameters())
    if projection == "sjlt":
        sizes = {name: parameter.numel() for name, parameter in parameters.items()}
        return SumOfSketches(sizes, k, seed=seed, names=(model_id,))(torch.eye(sum(sizes.values()))), 1.0
    plan = {"two-sided": two_sided_blocks, "two-sided-layers": two_sided_blocks, "factor-mask": masked_blocks}
    if projection in plan:
        blocks = plan[projection](parameters, k=k, seed=derive(seed, model_id))
        parts = [torch.kron(*_sides(block)) for block in blocks.values()]  # on rows.T G cols, flattened
        first, layers = torch.block_diag(*parts), layer_sizes(blocks)
    else:
        first, layers = torch.eye(sum(parameter.numel() for parameter in parameters.values())), None
    last = make_projector(projection, first.shape[1], k, seed=seed, model_id=model_id, layers=layers)
    return last(first), getattr(last, "scale", 1.0)


NETS = {
    "linear": lambda: (
        nn.Sequential(nn.Linear(40, 50), nn.Tanh(), nn.Linear(50, 30, bias=False), nn.LayerNorm(30), nn.Linear(30, 4)),
        torch.randn(6, 40),
    ),
    "convolutions": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 40, 3, stride=2, bias=False),
            nn.BatchNorm2d(40),
            nn.ReLU(inplace=True),
            nn.Conv2d(40, 20, (1, 2), groups=4),
            nn.Flatten(),
            nn.Linear(20 * 16, 4),
        ),
        torch.randn(6, 3, 9, 11),
    ),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("projection", [name for name in PROJECTIONS if name != "identity"])
def test_features_are_exact_gradients_times_the_explicit_matrix_of_the_sketch(projection, net) -> None:
    torch.manual_seed(0)
    model, inputs = NETS[net]()
    batch = {"pixel_values": inputs, "labels": torch.arange(6) % 4}

    def features(projection, **options):
        with Featurizer(model, projection=projection, **options) as featurize:
            return featurize(batch).features

    options = {"k": 120, "seed": 3, "model_id": 2}
    found, gradients = features(projection, **options), features("identity")
    matrix, scale = explicit(projection, model, 120, 3, 2)
    assert found.shape == (6, 120)
    torch.testing.assert_close(
        found, (gradients.double() @ matrix.double()).float(), rtol=1e-4, atol=1e-4 * float(found.abs().max())
    )
    assert torch.equal(found, features(projection, **options))
    assert not torch.allclose(found, features(projection, **options | {"model_id": 1}))
    assert not torch.allclose(found, features(projection, **options | {"seed": 4}))
    true, close = gradients @ gradients.T, found @ found.T / scale
    assert (close - true).norm() < 0.7 * true.norm()


def test_layers_share_k_and_none_gets_more_than_it_has() -> None:
    sizes = {"a": 5, "b": 900, "c": 60, "d": 700}
    sketch = make_projector("two-sided-layers", 1665, 100, seed=0, layers=sizes)
    assert sketch.layout == {"a": (0, 5), "b": (5, 37), "c": (37, 68), "d": (68, 100)}
    rows = torch.randn(3, 1665)
    rows[:, 905:965] = 0
    features = sketch(rows)
    assert features.shape == (3, 100) and not features[:, 37:68].any() and features[:, 68:].all()
    torch.testing.assert_close(features[:, :5].norm(dim=1), rows[:, :5].norm(dim=1))
    check_projection(sketch, 1665)
    with pytest.raises(InputError, match="k=3 numbers are too few for 4 layers; pass 4 or more"):
        make_projector("two-sided-layers", 1665, 3, seed=0, layers=sizes)


class Zero(Identity):
    def __call__(self, rows):
        return torch.zeros_like(rows)


class Shrunk(Identity):
    def __call__(self, rows):
        return rows / 3


def test_a_projection_that_loses_what_it_is_given_is_refused() -> None:
    check_projection(make_projector("sjlt", 5000, 256, seed=0), 5000)
    with pytest.raises(InputError, match="all-zero or non-finite"):
        check_projection(Zero(300), 300)
    with pytest.raises(InputError, match=r"inner products of random vectors by 0\.88"):
        check_projection(Shrunk(300), 300)


def test_unknown_projections_and_sizes_are_refused() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(
        InputError, match="projection 'gauss' is unknown; pass one of: two-sided, two-sided-layers, factor-mask, normal"
    ):
        Featurizer(model, projection="gauss")
    with pytest.raises(InputError, match="k=0 features"):
        Featurizer(model, k=0)
    with pytest.raises(InputError, match="output 'logit' is unknown"):
        Featurizer(model, output="logit")
    with pytest.raises(InputError, match="precision 'fp8' is unknown"):
        Featurizer(model, precision="fp8")


def test_a_block_projects_as_its_two_sides_say() -> None:
    rows, cols = torch.randn(5, 2), torch.randn(12, 4)
    block = Block("w", torch.Size([5, 3, 4]), 0, rows, cols)
    gradient = torch.randn(7, 5, 3, 4)
    expected = torch.einsum("mr,bmn,ns->brs", rows, gradient.flatten(2), cols).flatten(1)
    torch.testing.assert_close(block.project(gradient), expected)
