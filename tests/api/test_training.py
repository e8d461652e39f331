"""`thresher.train`: settings that are of the model or of its length, beside those of the optimiser."""

import numpy as np
import pytest

import thresher
from tests.proxies.conftest import write_text
from thresher.errors import InputError
from thresher.proxies.models.spec import size_of

SMALL = {"batch_size": 16, "precision": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("pool") / "pool", 60).artifact.path


def test_the_parametrization_and_the_length_reach_the_artefact(pool, tmp_path):
    plain = thresher.train(
        "60k", pool, out=tmp_path / "plain", parametrization="standard", tokens_per_parameter=0.1, **SMALL
    ).artifact
    ours = thresher.train("60k", pool, out=tmp_path / "ours", held_out=pool, epochs=1, **SMALL).artifact
    spec = plain.meta["config"]["spec"]
    assert "parametrization" not in spec and ours.meta["config"]["spec"]["parametrization"] == "completep"
    assert plain.facts["num_tokens_seen"] == round(0.1 * size_of(spec)["total"])
    assert ours.facts["learning_rate"] == 0.00247 and plain.facts["learning_rate"] == 8e-3
    curves = ours.facts["curves"]
    assert curves["steps"][-1] == ours.facts["num_steps"] and np.isfinite(curves["held_out"]["mean"]).all()


def test_a_word_that_is_none_and_two_lengths_are_refused(pool, tmp_path):
    with pytest.raises(InputError, match=r"'complete' is unknown.*completep"):
        thresher.train("60k", pool, out=tmp_path / "m", parametrization="complete", **SMALL)
    with pytest.raises(InputError, match="both say how long"):
        thresher.train("60k", pool, out=tmp_path / "m", tokens_per_parameter=2, epochs=1, **SMALL)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (np.arange(60) > 40, "indices are bool of shape"),
        (np.array([0.9, 1.9]), "indices are float64 of shape"),
        ([3, 60], "index 60 is outside of the pool's 60 examples"),
    ],
)
def test_what_is_no_list_of_positions_is_not_taken_for_one(pool, tmp_path, selection, message):
    with pytest.raises(InputError, match=message):
        thresher.validate(pool, {"ours": selection}, {"t": pool}, model="60k", out=tmp_path / "v")
