"""Learning curves: what they are of, that they change nothing, and that a killed training keeps them."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.proxies.conftest import write_text
from thresher.errors import InputError
from thresher.progress import Silent
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.spec import model_spec
from thresher.proxies.models.weights import open_model
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.curves import POINTS, WINDOWS
from thresher.proxies.training.single import train

CONFIG = TrainConfig.for_language(batch_size=16, steps=20, learning_rate=3e-3, precision="float32")


class Stop(Exception):
    pass


class StopAt(Silent):
    """Stops a training after so many steps, as a kill would."""

    def __init__(self, steps):
        self.steps = steps

    def task(self, label, total):
        if label != "train":
            return super().task(label, total)
        outer = self

        class Counting:
            done = 0

            def __enter__(self):
                return self

            def __call__(self, count):
                self.done += count
                if self.done >= outer.steps:
                    raise Stop

            def __exit__(self, *exception):
                return None

        return Counting()


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("curves") / "held-out", 47)


def test_curves_end_at_the_losses_of_the_saved_model_and_leave_its_weights_as_they_were(text, held_out, tmp_path):
    spec = model_spec("60k", text)
    plain = train(spec, text, out=tmp_path / "plain", config=CONFIG, seed=1, indices=np.arange(200), device="cpu")
    options = {"config": CONFIG, "seed": 1, "indices": np.arange(200), "device": "cpu"}
    followed = train(spec, text, out=tmp_path / "followed", held_out=held_out, **options)
    weights, same = (load_file(made.file("model.safetensors")) for made in (plain, followed))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert "curves" not in plain.facts and plain.meta["inputs"].get("held_out") is None
    curves = followed.facts["curves"]
    assert curves["steps"][0] == 1 and curves["steps"][-1] == 20 and len(curves["steps"]) <= POINTS
    domains = np.unique(held_out.domains).tolist()
    assert list(curves["held_out"]["domains"]) == domains == list(curves["train"]["domains"])
    model = open_model(followed.path)
    for domain in domains:
        members = np.flatnonzero(held_out.domains == domain)
        if len(members) <= WINDOWS:  # then all of them were looked at
            expected = evaluate(model, held_out, indices=members)["loss"].mean()
            assert curves["held_out"]["domains"][domain][-1] == pytest.approx(expected, abs=1e-5)
    ends = [losses[-1] for losses in curves["held_out"]["domains"].values()]
    assert curves["held_out"]["mean"][-1] == pytest.approx(np.mean(ends))
    assert curves["train"]["mean"][0] > curves["train"]["mean"][-1] + 0.5


def test_a_killed_training_goes_on_with_its_curves(text, held_out, tmp_path):
    options = {"config": CONFIG, "seed": 1, "held_out": held_out, "device": "cpu"}
    spec = model_spec("60k", text)
    whole = train(spec, text, out=tmp_path / "whole", **options)
    with pytest.raises(Stop):
        train(spec, text, out=tmp_path / "broken", progress=StopAt(9), checkpoint_every_seconds=0.0, **options)
    again = train(spec, text, out=tmp_path / "broken", **options)
    assert again.facts["curves"] == whole.facts["curves"]
    assert again.content_hash == whole.content_hash


def test_held_out_examples_of_another_kind_are_refused(text, digits, tmp_path):
    with pytest.raises(InputError, match=r"is for language, but .* is for vision"):
        train(model_spec("60k", text), text, out=tmp_path / "m", config=CONFIG, seed=0, held_out=digits)
