"""What a target's mean is over: plain for selection; by confidence where labels are the goal."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.attribution.cases import checkpoints, dense_scores, synthetic_store
from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import mlp
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.scoring.direction import score_by_direction
from thresher.attribution.scoring.dual import score_dual
from thresher.attribution.scoring.goal import resolve_goal, target_weights
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.scores import score
from thresher.errors import InputError
from thresher.scores import read_scores


def labelled(is_classified):
    return SimpleNamespace(is_classified=is_classified)


def test_for_labels_a_target_example_weighs_as_much_as_it_is_trusted():
    np.testing.assert_allclose(target_weights("labels", np.array([0.1, 0.3, 0.6, 0])), [0.1, 0.3, 0.6, 0], atol=1e-30)
    np.testing.assert_allclose(target_weights("labels", np.zeros(4)), [0.25] * 4)


def test_for_selection_every_target_example_weighs_the_same():
    np.testing.assert_array_equal(target_weights("selection", np.array([0.1, 0.3, 0.6, 0])), [0.25] * 4)


@pytest.mark.parametrize(
    ("pool", "targets", "goal"),
    [(True, [True, True], "labels"), (True, [True, False], "selection"), (False, [True], "selection")],
)
def test_auto_is_labels_where_pool_and_all_targets_are_labelled_with_classes(pool, targets, goal):
    named = {str(n): labelled(own) for n, own in enumerate(targets)}
    assert resolve_goal("auto", labelled(pool), named) == goal
    assert resolve_goal("labels", labelled(pool), named) == "labels"


def test_scores_for_labels_are_dense_scores_weighed_by_confidence(tmp_path):
    pool = synthetic_store(tmp_path / "pool", n=61, k=11)
    target = synthetic_store(tmp_path / "target", n=8, k=11, seed=1, prefix="t")
    made = score(pool, {"t": target}, out=tmp_path / "scores", damping=0.5, goal="labels")
    weights = target.outputs(0)["confidence"]
    expected = dense_scores(pool, target, 0.5, "none") @ (weights / weights.sum())
    np.testing.assert_allclose(read_scores(made, "t"), expected, rtol=1e-4, atol=1e-6 * abs(expected).max())
    assert (made.meta["config"]["goal"], made.meta["config"]["q"]) == ("labels", "none")


def test_all_methods_score_for_labels_alike(tmp_path):
    pool, target = dual_cases.examples(tmp_path, mlp)
    models = checkpoints(mlp, 2)
    stores = [
        open_features(featurize(models, e, out=tmp_path / n, projection="identity", store_dtype="float32").path)
        for n, e in {"p": pool, "t": target}.items()
    ]
    relative = 0.5 * stores[0].k / len(pool)
    by_features = score(stores[0], {"t": stores[1]}, out=tmp_path / "f", damping=relative, goal="auto")
    options, targets = Options(damping=0.5, goal="labels"), {"t": target}
    others = [
        score_dual(models, pool, targets, out=tmp_path / "dual", options=options),
        score_dual(models, pool, targets, out=tmp_path / "top", options=options, top=3),
        score_by_direction(models, pool, targets, out=tmp_path / "direction", options=options),
    ]
    plain = score(stores[0], {"t": stores[1]}, out=tmp_path / "s", damping=relative, q="none")
    assert np.corrcoef(read_scores(plain, "t"), read_scores(by_features, "t"))[0, 1] < 0.999
    for made in others:
        assert made.meta["config"]["goal"] == by_features.meta["config"]["goal"] == "labels"
        np.testing.assert_allclose(read_scores(made, "t"), read_scores(by_features, "t"), rtol=1e-3, atol=1e-5)


def test_an_unknown_goal_is_refused_with_those_there_are():
    with pytest.raises(
        InputError, match=r"goal 'label' is unknown \(nearest: 'labels'\); pass one of: auto, selection, labels"
    ):
        resolve_goal("label", labelled(True), {})
