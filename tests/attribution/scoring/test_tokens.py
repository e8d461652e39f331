"""What tokens carried: they sum to the score of their example, whatever scored it; the ends of the ranking alone."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.attribution.cases import checkpoints
from tests.attribution.curvature.test_solving import named
from tests.attribution.scoring import dual_cases
from tests.attribution.scoring.dual_cases import cnn, gpt2
from thresher.attribution.curvature.inverse import Solving
from thresher.attribution.gradients.slopes import Slopes
from thresher.attribution.scoring.curvature import score_by_curvature
from thresher.attribution.scoring.direction import score_by_direction
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.tokens import token_slopes
from thresher.data.batches import all_of
from thresher.errors import InputError
from thresher.scores import read_scores

SCORERS = {
    "direction": lambda *given, **more: score_by_direction(*given, options=Options(q="sqrt"), **more),
    "direction of the loss": lambda *given, **more: score_by_direction(*given, options=Options(output="loss"), **more),
    "ekfac": lambda *given, **more: score_by_curvature(*given, solving=Solving(sample=15), **more),
}


@pytest.mark.parametrize("name", SCORERS)
def test_tokens_sum_to_the_score_of_their_example(tmp_path, name):
    pool, target = dual_cases.examples(tmp_path, gpt2)  # of several windows
    targets = {"t": target, "own": pool}
    made = SCORERS[name](checkpoints(gpt2, 2), pool, targets, out=tmp_path / "scores", per_token=len(pool))
    table = pq.read_table(made.path / "tokens.parquet").to_pandas()
    for column in targets:
        scores = dict(zip(pool.ids, read_scores(made, column), strict=True))
        sums = table[table.target == column].groupby("id").value.sum()
        assert set(sums.index) == set(pool.ids)
        expected = np.array([scores[id] for id in sums.index])
        np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


def test_every_predicted_token_has_a_row_in_its_place_and_the_ends_of_the_ranking_come_first(tmp_path):
    pool, target = dual_cases.examples(tmp_path, gpt2)
    made = score_by_direction(checkpoints(gpt2, 1), pool, {"t": target}, out=tmp_path / "scores", per_token=3)
    table = pq.read_table(made.path / "tokens.parquet").to_pandas()
    order = np.argsort(-read_scores(made, "t"), kind="stable")
    assert list(dict.fromkeys(table.id)) == [pool.ids[row] for row in (*order[:3], *order[-3:])]
    for id, rows in table.groupby("id", sort=False):
        tokens = pool.tokens[pool.ids.index(id)]
        assert (np.diff(rows.position) > 0).all() and rows.position.max() == len(tokens) - 1
        assert (tokens[rows.position] == rows.token).all()
    assert table.text.isna().all()  # such a pool has no tokenizer


def test_slopes_by_token_of_margins_add_up_too(tmp_path):
    pool, _ = dual_cases.examples(tmp_path, gpt2)
    model, directions = gpt2(0), named(gpt2(0), 1)
    part, one = all_of(pool, 30), {name: value[0] for name, value in directions.items()}
    for output in ("loss", "margin"):
        made = token_slopes(model, part, one, output)
        sums = np.bincount(made["owner"], made["value"])
        expected = np.zeros(len(pool))
        reader = Slopes(model, part.probe(), directions, output=output)
        for shares, batch in part.batches():
            np.add.at(expected, shares.owners, reader.read(batch)[0][:, 0].numpy() * shares.weights)
        reader.close()
        np.testing.assert_allclose(sums, expected, rtol=1e-8, atol=1e-8 * abs(expected).max())


def test_images_have_no_tokens(tmp_path):
    pool, target = dual_cases.examples(tmp_path, cnn)
    with pytest.raises(InputError, match="the pool is images; leave it out"):
        score_by_curvature(checkpoints(cnn, 1), pool, {"t": target}, out=tmp_path / "s", per_token=5)
    assert not (tmp_path / "s").exists()
