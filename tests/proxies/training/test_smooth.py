"""AdamW with a number inside of its root."""

from dataclasses import asdict, replace

import pytest
import torch

from thresher.errors import InputError
from thresher.proxies.models.spec import model_spec
from thresher.proxies.settings import LATER, ModelSettings
from thresher.proxies.training.chosen import train_config_of
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.single import train
from thresher.proxies.training.smooth import SmoothAdamW


def steps_of(optimizer, parameter, count=5):
    draw = torch.Generator().manual_seed(0)
    for _ in range(count):
        parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        optimizer.step()
    return parameter.detach().clone()


def parameter():
    return torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))


def test_with_nothing_in_the_root_it_is_torchs_adamw():
    options = {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.3}
    ours, theirs = parameter(), parameter()
    steps_of(SmoothAdamW([ours], eps_root=0.0, **options), ours)
    steps_of(torch.optim.AdamW([theirs], **options), theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_the_first_step_is_its_formula():
    x, gradient, root = 0.5, 1e-4, 1e-6
    one = torch.nn.Parameter(torch.tensor([x], dtype=torch.float64))
    one.grad = torch.tensor([gradient], dtype=torch.float64)
    SmoothAdamW([one], lr=0.1, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.2, eps_root=root).step()
    # Without bias m^ = g and v^ = g^2.
    expected = x * (1 - 0.1 * 0.2) - 0.1 * gradient / ((gradient**2 + root) ** 0.5 + 1e-3)
    assert one.item() == pytest.approx(expected, rel=1e-12)


def test_its_state_goes_to_disk_and_back(text, tmp_path, monkeypatch):
    config = TrainConfig.for_language(batch_size=16, eps_root=1e-6, precision="float32")
    spec = model_spec("60k", text)
    whole = train(spec, text, out=tmp_path / "whole", config=config, seed=0)
    saves = []
    from thresher.proxies.training.state import TrainState

    save = TrainState.save

    def twice(self, file):
        save(self, file)
        saves.append(file)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainState, "save", twice)
    often = {"config": config, "seed": 0, "checkpoint_every_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        train(spec, text, out=tmp_path / "broken", **often)
    monkeypatch.setattr(TrainState, "save", save)
    broken = train(spec, text, out=tmp_path / "broken", **often)
    assert broken.content_hash == whole.content_hash


def test_a_request_says_it_only_where_it_is_in_use(text):
    plain, smooth = (TrainConfig(shuffle_sequences=False, eps_root=root) for root in (0.0, 1e-6))
    assert "eps_root" not in plain.record and smooth.record["eps_root"] == 1e-6
    assert plain.record == {name: value for name, value in asdict(plain).items() if name not in LATER}
    for config in (plain, smooth):
        assert TrainConfig.of_record(config.record) == config
    settings = ModelSettings(size="60k")
    assert "eps_root" not in settings.record
    assert replace(settings, eps_root=1e-6).record["eps_root"] == 1e-6
    assert train_config_of(replace(settings, eps_root=1e-6), model_spec("60k", text), text).eps_root == 1e-6


def test_what_has_no_root_is_refused():
    with pytest.raises(InputError, match="eps_root=1e-06 with sgd"):
        TrainConfig(optimizer="sgd", eps_root=1e-6)
    with pytest.raises(InputError, match="eps_root=-1"):
        TrainConfig(eps_root=-1.0)
