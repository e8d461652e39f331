"""One interface for all scorers: the artefact is the mean of the pairs; what does not fit is refused."""

import numpy as np
import pytest

from tests.attribution.cases import digits, token_examples
from thresher.errors import InputError
from thresher.proxies.settings import ModelSettings
from thresher.scorers import SCORERS
from thresher.scores import open_scores
from thresher.studies.experiments.lds import train_checkpoints
from thresher.studies.scoring.basis import Attribution, Basis
from thresher.studies.scoring.columns import COLUMNS
from thresher.studies.scoring.pairs import PAIRS, check_scorers, pairs_by
from thresher.studies.scoring.score import score_by
from thresher.workspace import Workspace


@pytest.fixture(scope="module")
def basis(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    pool = digits(root / "pool", slice(0, 120), classes=3)
    settings = ModelSettings(size="mlp-16x1", epochs=10, learning_rate=0.1)
    models = train_checkpoints(pool, settings, count=2, seed=0, workers=1, workspace=Workspace(root / "work"))
    return Basis(models, pool, Attribution(k=64), Workspace(root / "work"))


@pytest.fixture(scope="module")
def zeros(tmp_path_factory):
    """A target of one class alone."""
    return digits(tmp_path_factory.mktemp("target") / "zeros", slice(120, 150), classes=1)


def test_every_scorer_that_is_named_is_there():
    assert set(PAIRS) | set(COLUMNS) == set(SCORERS)


@pytest.mark.parametrize("name", [name for name in PAIRS if "texts" not in SCORERS[name].needs])
def test_the_artefact_is_the_mean_over_the_targets_examples(basis, zeros, tmp_path, name):
    scores = open_scores(score_by(name, basis, {"zeros": zeros}, out=tmp_path / "scores").path)
    pairs = np.concatenate([block for _, block in pairs_by(name, basis, zeros)])
    assert pairs.shape == (len(basis.pool), len(zeros))
    if name == "ekfac-cg":  # both stop at a residual, of their own right-hand sides
        assert np.corrcoef(scores.of(None)["zeros"], pairs.mean(axis=1))[0, 1] > 0.99
        return
    scale = float(np.abs(pairs).max())
    np.testing.assert_allclose(scores.of(None)["zeros"], pairs.mean(axis=1), rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("name", [name for name in SCORERS if SCORERS[name].needs in (("models",), ("training",))])
def test_examples_of_the_targets_class_help_it_most(basis, zeros, tmp_path, name):
    values = open_scores(score_by(name, basis, {"zeros": zeros}, out=tmp_path / "scores").path).of(None)["zeros"]
    is_zero = np.asarray(basis.pool.labels) == 0
    assert values[is_zero].mean() > values[~is_zero].mean() + values.std()


def test_factors_are_an_artefact_that_later_scorers_find_again(basis, zeros, tmp_path):
    workspace = Workspace(tmp_path / "work")

    def scored(name, sample):
        again = Basis(basis.models, basis.pool, Attribution(sample=sample, steps=2), workspace)
        artifact = score_by(name, again, {"zeros": zeros}, out=tmp_path / f"{name}-{sample}")
        return artifact, again.curvature.artifact

    first, second, third = scored("ekfac", 40), scored("ekfac-cg", 40), scored("ekfac", 60)
    assert first[1].path == second[1].path != third[1].path
    assert not second[1].built and first[0].meta["inputs"]["curvature"] == first[1].content_hash
    assert first[1].facts["share"] == 40 / len(basis.pool) and "checkpoint001.safetensors" in first[1].meta["files"]


def test_tokens_are_asked_of_scorers_along_a_direction_and_of_text(basis, zeros, tmp_path):
    asked = Basis(basis.models, basis.pool, Attribution(per_token=3), basis.workspace)
    for name, said in {"embedding": "score by direction, ekfac, ekfac-cg", "ekfac": "the pool is images"}.items():
        with pytest.raises(InputError, match=said):
            score_by(name, asked, {"zeros": zeros}, out=tmp_path / name)


def test_gradients_are_averaged_over_views_by_every_scorer_that_reads_them(basis, zeros, tmp_path):
    seen = Basis(basis.models, basis.pool, Attribution(k=64, sample=120, views=("flip",)), Workspace(tmp_path / "work"))
    plain = Basis(basis.models, basis.pool, Attribution(k=64, sample=120), Workspace(tmp_path / "work"))
    for name in ("trak", "dual", "direction", "ekfac"):
        pairs = [np.concatenate([b for _, b in pairs_by(name, each, zeros)]).mean(axis=1) for each in (seen, plain)]
        assert 0.5 < np.corrcoef(*pairs)[0, 1] < 0.9999
        scores = open_scores(score_by(name, seen, {"zeros": zeros}, out=tmp_path / name).path).of(None)["zeros"]
        assert np.corrcoef(scores, pairs[0])[0, 1] > 0.99, name


def test_going_back_through_training_is_of_whole_targets(basis, zeros):
    with pytest.raises(InputError, match="not once an example"):
        pairs_by("metagradient", basis, zeros)


def test_a_request_that_is_there_is_found_again_and_another_is_refused(basis, zeros, tmp_path):
    assert score_by("random", basis, {"zeros": zeros}, out=tmp_path / "scores").built
    assert not score_by("random", basis, {"zeros": zeros}, out=tmp_path / "scores").built
    with pytest.raises(InputError, match="scorer"):
        score_by("embedding", basis, {"zeros": zeros}, out=tmp_path / "scores")


def test_unknown_scorers_and_texts_of_images_are_refused(basis, tmp_path):
    with pytest.raises(InputError, match=r"'trakc' is unknown .nearest: 'trak'"):
        check_scorers(["trakc"], basis.pool)
    with pytest.raises(InputError, match="compares texts"):
        check_scorers(["trak", "bm25"], basis.pool)
    check_scorers(["bm25"], token_examples(tmp_path / "text", np.array([3, 4, 5])))
