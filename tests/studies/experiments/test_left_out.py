"""Leaving out what a scorer ranks highest: by hand from the runs, in sign, and refused where it says nothing."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from tests.attribution.cases import digits
from thresher.errors import InputError
from thresher.proxies.settings import ModelSettings
from thresher.selection.statistics.comparison import POOLED
from thresher.studies.experiments.left_out import leave_out
from thresher.workspace import Workspace

SETTINGS = ModelSettings(size="mlp-16x1", epochs=30, learning_rate=0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits")
    return digits(root / "pool", slice(0, 300)), digits(root / "target", slice(300, 700))


@pytest.fixture(scope="module")
def measured(data, tmp_path_factory):
    pool, target = data
    is_even = (load_digits().target[:300] % 2 == 0).astype(float)
    scores = {"even first": {"digits": is_even}, "odd first": {"digits": -is_even}}
    return leave_out(
        pool,
        {"digits": target},
        scores | {"arbitrary": {"digits": np.random.default_rng(0).random(len(pool))}},
        model=SETTINGS,
        share=0.45,
        repeats=3,
        workers=1,
        workspace=Workspace(tmp_path_factory.mktemp("work")),
    )


def test_the_table_is_the_mean_rise_over_random_seed_by_seed(measured):
    runs = {
        (row["left_out"], row["seed"]): row["loss"] for row in pq.read_table(measured.file("runs.parquet")).to_pylist()
    }
    rises = [runs["even first for digits", seed] - runs["random", seed] for seed in range(3)]
    row = measured.facts["table"]["even first"]["digits"]
    assert row["mean"] == pytest.approx(np.mean(rises))
    assert row["n"] == 3
    assert measured.facts["table"]["even first"][POOLED] == row  # of one target
    assert measured.facts["num_trainings"] == 12


def test_leaving_out_most_of_some_classes_hurts_more_than_random_data(measured):
    table = measured.facts["table"]
    rise = {scorer: table[scorer]["digits"]["mean"] for scorer in table}
    assert min(rise["even first"], rise["odd first"]) > 3 * abs(rise["arbitrary"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"repeats": 1}, "repeats=1 gives no interval"),
        ({"share": 0.0}, "outside"),
        ({"share": 1.0}, "leaves nothing to train on"),
        ({"scores": {}}, "at least one scorer"),
        ({"scores": {"a": {"other": np.ones(300)}}}, "scores for other; give those for digits"),
        ({"scores": {"a": {"digits": np.ones(3)}}}, "shape"),
        ({"scores": {"a": {"digits": np.full(300, np.nan)}}}, "not finite"),
    ],
)
def test_what_says_nothing_is_refused_before_training(data, tmp_path, change, said):
    pool, target = data
    options = {"scores": {"a": {"digits": np.ones(300)}}, "share": 0.1, "repeats": 2} | change
    with pytest.raises(InputError, match=said):
        leave_out(pool, {"digits": target}, model=SETTINGS, workspace=Workspace(tmp_path), **options)
    assert not any(tmp_path.iterdir())
