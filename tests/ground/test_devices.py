"""What the library computes in float32 is float32, whatever a process allows elsewhere."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.attribution.cases import checkpoints, digits, mlp
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.attribution.scoring.dual import dual_scores
from thresher.devices import FLOAT32_SETTINGS, autocast, full_float32, has_bf16
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.ladder import language_config
from thresher.proxies.training.config import TrainConfig


@pytest.fixture
def coarse() -> Iterator[None]:
    """Products of float32 may be of bfloat16 factors: on chips that have them, an error of 1e-3 and more."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def error() -> float:
    """Of a product of float32, relative to the largest number that it can give."""
    a, b = torch.randn(2, 200, 200, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    return float((a @ b - exact).abs().max() / (a.double().abs() @ b.double().abs()).max())


def state() -> list:
    newer = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    parts = [name.split(".") for name in FLOAT32_SETTINGS] if newer else []
    settings = [getattr(getattr(torch.backends, library), name).fp32_precision for library, name in parts]
    return [
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.mkldnn.enabled,
        *settings,
    ]


# k roundings of a float32 product, each at most half a unit in the last place: 200 x 6e-8.
BOUND = 200 * torch.finfo(torch.float32).eps / 2


def test_products_are_full_float32_inside_and_as_allowed_afterwards(coarse, monkeypatch):
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    before = state()
    with full_float32():
        assert error() < BOUND
        with full_float32():
            pass
        assert error() < BOUND
    with pytest.raises(KeyError), full_float32():
        raise KeyError
    assert state() == before


def test_float32_as_a_precision_is_full_float32(coarse):
    with autocast(torch.device("cpu"), "float32"):
        assert error() < BOUND


def test_bf16_is_for_chips_whose_kernels_are_in_use(monkeypatch):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True, raising=False)
    for capability, expected in (("AVX512", True), ("AVX2", False), ("DEFAULT", False), ("NO AVX", False)):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda capability=capability: capability)
        assert has_bf16(torch.device("cpu")) == expected


@pytest.mark.parametrize(("tiles", "narrow"), [(True, "bf16"), (False, "float32")])
def test_what_bf16_would_slow_is_trained_in_float32(monkeypatch, tiles, narrow):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: tiles, raising=False)
    shape = {"vocab_size": 300, "sequence_length": 16}
    sizes = {size: {"source": "ladder", "config": language_config(size, **shape)} for size in ("60k", "4M")}
    config, cpu = TrainConfig(), torch.device("cpu")
    assert [config.precision_on(spec, cpu) for spec in sizes.values()] == [narrow, "bf16"]
    assert config.precision_on({"source": "mlp"}, cpu) == "float32"
    assert config.precision_on({"source": "rn"}, cpu) == "bf16"
    assert TrainConfig(precision="bf16").precision_on(sizes["60k"], cpu) == "bf16"


def test_features_losses_and_scores_are_the_same_numbers_whatever_the_process_allows(tmp_path):
    pool, target = digits(tmp_path / "pool", slice(0, 60)), digits(tmp_path / "target", slice(90, 100), prefix="t")
    models = checkpoints(mlp, 1)

    def made() -> list[np.ndarray]:
        with Featurizer(models[0][1](), k=40) as featurize:
            features, outputs = featurize(pool.batch(range(60)))
        losses = evaluate(models[0][1](), pool, device="cpu")["loss"]
        return [features.numpy(), outputs.margin.numpy(), losses, dual_scores(models, pool, target)]

    exact, found = made(), []
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        found = made()
    finally:
        torch.set_float32_matmul_precision(before)
    for one, other in zip(exact, found, strict=True):
        np.testing.assert_array_equal(one, other)
