"""Tables of mixtures: what is read, what is repaired and said, what is refused in one line."""

import numpy as np
import pytest

from tests.selection.mixture.cases import DOMAINS, TARGETS, made_runs
from thresher.errors import InputError
from thresher.selection.mixture.table import folds, make_table, split
from thresher.selection.mixture.table_file import Columns, read_columns, read_table


def write(path, header, rows):
    path.write_text("\n".join([",".join(header), *[",".join(map(str, row)) for row in rows]]) + "\n")
    return path


def test_columns_are_found_by_pattern_and_named_by_what_the_star_matches(tmp_path):
    rows = [(0, 0.2, 0.8, 3.5), (1, 0.5, 0.5, 3.1), (2, 0.9, 0.1, 2.9)]
    path = write(tmp_path / "runs.csv", ["run", "train_books_w", "train_code_w", "eval/qa"], rows)
    table = read_table(path, Columns(("train_*_w",), ("eval/*",)))
    assert table.domains == ("books", "code") and table.targets == ("qa",)
    np.testing.assert_array_equal(table.weights, np.array(rows)[:, 1:3])
    np.testing.assert_array_equal(table.losses, np.array(rows)[:, 3:])
    assert table.repairs == ()


def test_two_files_are_joined_on_the_index_whatever_their_order(tmp_path):
    weights = write(tmp_path / "w.csv", ["id", "weight_a", "weight_b"], [("x", 0.1, 0.9), ("y", 0.4, 0.6), ("z", 1, 0)])
    losses = write(tmp_path / "l.csv", ["id", "loss_t"], [("z", 3), ("x", 1), ("y", 2)])
    toml = tmp_path / "columns.toml"
    toml.write_text('weights = "weight_*"\nlosses = ["loss_*"]\nindex = "id"\n')
    table = read_table([weights, losses], read_columns(toml))
    np.testing.assert_array_equal(table.losses[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(table.weights[:, 0], [0.1, 0.4, 1])


def test_rounded_weights_are_renormalised_and_it_is_said():
    weights, losses = made_runs(12)
    off = weights.copy()
    off[4] *= 1.004
    table = make_table(DOMAINS, TARGETS, off, losses)
    np.testing.assert_allclose(table.weights, weights, atol=1e-12)
    assert len(table.repairs) == 1 and "renormalised" in table.repairs[0] and "1.0040" in table.repairs[0]


def test_exact_copies_are_dropped_and_repeats_with_another_loss_are_kept():
    weights, losses = made_runs(10)
    more = np.vstack([losses, losses[:1], losses[1:2] + 0.1])
    table = make_table(DOMAINS, TARGETS, np.vstack([weights, weights[:2]]), more)
    assert len(table) == 11
    assert "1 runs were exact copies" in table.repairs[0] and "1 runs repeat a mixture" in table.repairs[1]


def test_a_domain_no_run_used_is_dropped_and_said():
    weights, losses = made_runs(9)
    table = make_table(("unused", *DOMAINS), TARGETS, np.column_stack([np.zeros(9), weights]), losses)
    assert table.domains == DOMAINS and "unused" in table.repairs[0]


def broken(change):
    weights, losses = made_runs(8)
    change(weights, losses)
    return weights, losses


def negative(weights, losses):
    weights[2, 1] -= 1


def missing(weights, losses):
    losses[3, 1] = np.nan


def constant(weights, losses):
    losses[:, 0] = 2.5


def off_sum(weights, losses):
    weights[5] *= 1.02


def never_varied(weights, losses):
    weights[:, 0] = 0.1
    weights[:, 1:] *= 0.9 / weights[:, 1:].sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "change, words",
    [
        (negative, "run 2 has weight"),
        (missing, "run 3 has no number for 'proofs'"),
        (constant, "'qa' has the same loss"),
        (off_sum, "run 5 sum to 1.02"),
        (never_varied, "'books' is 0.1 in every run"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(change, words):
    with pytest.raises(InputError, match=words) as error:
        make_table(DOMAINS, TARGETS, *broken(change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "header, rows, words",
    [
        (["weight_a", "weight_b", "loss_t"], [(0.5, 0.5, "")] * 3, "run 0: column 'loss_t' has ''"),
        (["weight_a", "weight_b", "loss_t"], [(0.5, 0.5, "nan")] * 3, "'nan', not a number"),
        (["a", "b", "loss_t"], [(0.5, 0.5, 1)] * 3, "no column matches weight_"),
        (["weight_a", "weight_a", "loss_t"], [(0.5, 0.5, 1)] * 3, "two columns called"),
        (["weight_a", "weight_b", "loss_t"], [], "holds no rows"),
    ],
)
def test_unreadable_csv_is_refused_in_one_line(tmp_path, header, rows, words):
    with pytest.raises(InputError, match=words) as error:
        read_table(write(tmp_path / "runs.csv", header, rows))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, words", [("weights = 3", "are patterns"), ("weigths = 'a'", "the keys are"), ("=", "TOML")]
)
def test_a_bad_columns_file_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "columns.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_columns(path)
    assert "\n" not in str(error.value)


def test_runs_of_one_mixture_are_never_on_both_sides_of_a_split():
    weights, losses = made_runs(15)
    twice = make_table(DOMAINS, TARGETS, np.vstack([weights, weights]), np.vstack([losses, losses + 0.01]))
    held_out = []
    for train, held in folds(twice, 4, seed=1):
        assert not {tuple(row) for row in twice.weights[train]} & {tuple(row) for row in twice.weights[held]}
        held_out.extend(held)
    assert sorted(held_out) == list(range(30))
    train, test = split(twice, 0.25, seed=1)
    assert len(train) + len(test) == 30 and 4 <= len(test) <= 10
