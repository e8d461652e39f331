"""What training keeps of its optimiser: the second moments that AdamW had, by hand after one step."""

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.attribution.cases import digits
from thresher.outputs import logits_of, outputs_of
from thresher.proxies.models.spec import build_model, model_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.optimizer_state import OPTIMIZER, second_moment_scales, second_moments_file
from thresher.proxies.training.single import train


def test_one_step_keeps_the_square_of_its_gradient_and_only_where_that_is_asked_for(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 20), classes=3)
    spec = model_spec("mlp-8x1", pool)
    config = {"optimizer": "adamw", "steps": 1, "batch_size": 20, "clip": None, "precision": "float32"}
    options = {"seed": 0, "device": "cpu"}
    made = train(spec, pool, out=tmp_path / "kept", config=TrainConfig(**config, keep_optimizer=True), **options)
    plain = train(spec, pool, out=tmp_path / "plain", config=TrainConfig(**config), **options)
    assert second_moments_file(plain.path) is None and OPTIMIZER not in plain.meta["files"]

    model, batch = build_model(spec, 0), pool.batch(range(len(pool)))
    outputs_of(logits_of(model, batch), batch["labels"]).loss.mean().backward()
    kept, found = load_file(made.path / OPTIMIZER), second_moments_file(made.path)
    assert found is not None and found[0] == made.meta["files"][OPTIMIZER]["sha256"]
    scales = second_moment_scales(found[1])
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        square = parameter.grad.square()
        torch.testing.assert_close(kept[f"exp_avg_sq {name}"], 0.05 * square, rtol=1e-4, atol=1e-12)
        torch.testing.assert_close(scales[name], (square + 0.01 * square.mean()).rsqrt(), rtol=1e-4, atol=1e-4)


def test_momentum_is_no_second_moment(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 20), classes=3)
    config = TrainConfig.for_vision(steps=2, batch_size=10, keep_optimizer=True)
    made = train(model_spec("mlp-8x1", pool), pool, out=tmp_path / "m", config=config, seed=0, device="cpu")
    assert OPTIMIZER in made.meta["files"] and second_moments_file(made.path) is None


def test_its_header_has_one_entry_and_that_of_older_files_is_read(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 20), classes=3)
    config = TrainConfig(steps=2, batch_size=20, keep_optimizer=True)
    made = train(model_spec("mlp-8x1", pool), pool, out=tmp_path / "m", config=config, seed=0, device="cpu")
    with safe_open(made.path / OPTIMIZER, framework="pt") as stored:
        assert list(stored.metadata()) == ["state"]  # two entries are written in any order, and hashed so
    save_file(load_file(made.path / OPTIMIZER), tmp_path / "old", {"step": "2", "beta2": "0.95"})
    old, new = second_moment_scales(tmp_path / "old"), second_moment_scales(made.path / OPTIMIZER)
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)
